// The wall: all label maps at once, each with what A and B drew.
if (byId("stage")) {
  const TITLES = {
    random: "at random",
    worst: "worst",
    best: "best",
    change: "most changed",
    rare: "rare class",
    single: "single class",
  };
  const FIRST = 8;  // are there at once, as without a script, and can be printed
  const roles = byId("stage-b") ? ["a", "b"] : ["a"];
  const cards = [];

  const make = (tag, className, ...children) => {
    const element = document.createElement(tag);
    element.className = className;
    element.append(...children);
    return element;
  };
  const card = (shown, image) => {
    const slots = ["label", ...roles].map((role) => make("span", "slot"));
    const captions = roles.map((role) => make("span", "caption", make("b", `letter ${role}`, role.toUpperCase()), make("span", "n")));
    const stratum = make("span", "stratum", TITLES[shown.stratum] ?? shown.stratum);
    const stem = make("span", "stem", stratum, make("strong", "", shown.stem), " ", make("span", "muted", shown.why));
    const trio = make("span", "trio");
    slots.forEach((slot, index) => trio.append(make("span", "cell", slot, captions[index - 1] ?? make("span", "caption muted", "label map"))));
    const button = make("button", "card", stem, trio);
    button.type = "button";
    button.addEventListener("click", () => {
      pictures.choose(image);
      byId("stage").scrollIntoView();
    });
    cards.push({ image, button, slots, captions });
    return make("li", image < FIRST ? "" : "beyond", button);
  };

  byId("wall").replaceChildren(make("ul", "cards", ...data.panel.map(card)));

  const draw = ({ image, slots, captions }) => {
    const put = image < FIRST ? pictures.put : pictures.putOnView;
    put(slots[0], "label", image);
    roles.forEach((role, index) => {
      put(slots[index + 1], "drawing", compared[role], image);
      const right = pictures.accuracy(compared[role], image);
      captions[index].lastChild.textContent = right === null ? "" : right.toFixed(3);
    });
  };
  state.watch(["a", "b"], () => {
    const names = roles.map((role) => `${role.toUpperCase()} is ${data.cast[compared[role]].name}`);
    byId("wall-names").textContent = `${names.join(", ")}. The number below a picture is its mask accuracy.`;
    cards.forEach(draw);
  });
  state.watch(["image"], () => {
    for (const { image, button } of cards) {
      if (image === pictures.image) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
  });
}
