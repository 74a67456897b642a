// One class alone: all else of every picture on the stage is darkened.
if (byId("stage")) {
  const colours = new Map();
  const buttons = new Map();
  const select = byId("stage-class");
  const choose = (name) => state.set({ class: name || null });

  for (const item of byId("legend").children) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...item.childNodes);
    item.append(button);
    const name = item.dataset.class;
    colours.set(name, item.dataset.colour);
    buttons.set(name, button);
    button.addEventListener("click", () => choose(state.get("class") === name ? null : name));
  }
  select.addEventListener("change", () => choose(select.value));

  state.watch(["class"], () => {
    const name = state.get("class");
    select.value = colours.has(name) ? name : "";
    for (const [each, button] of buttons) button.setAttribute("aria-pressed", each === name);
    const colour = colours.get(name);
    byId("stage").classList.toggle("isolated", colour !== undefined);
    if (colour === undefined) return;
    // A table of 256 entries has one for each level of a channel: 1 for that of the class.
    ["R", "G", "B"].forEach((channel, index) => {
      const table = new Array(256).fill(0);
      table[Number.parseInt(colour.slice(1 + 2 * index, 3 + 2 * index), 16)] = 1;
      document.querySelector(`#outside feFunc${channel}`).setAttribute("tableValues", table.join(" "));
    });
  });
}
