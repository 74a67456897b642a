// The wall: all label maps at once, each with what A and B drew.
if (byId("stage")) {
  const TITLES = {
    random: "Drawn by lot",
    worst: "Lowest mask accuracy",
    best: "Highest mask accuracy",
    change: "Most changed",
    rare: "With rare classes",
    single: "Of a single class",
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
    const stem = make("span", "stem", make("strong", "", shown.stem), " ", make("span", "muted", shown.why || shown.stratum));
    const trio = make("span", "trio");
    slots.forEach((slot, index) => trio.append(make("span", "cell", slot, captions[index - 1] ?? make("span", "caption muted", "label map"))));
    const button = make("button", "card", stem, trio);
    button.type = "button";
    button.addEventListener("click", () => {
      pictures.choose(image);
      byId("stage").scrollIntoView({ block: "center" });
    });
    cards.push({ image, button, slots, captions });
    return make("li", image < FIRST ? "" : "beyond", button);
  };

  const groups = new Map();
  data.panel.forEach((shown, image) => {
    if (!groups.has(shown.stratum)) groups.set(shown.stratum, make("ul", "cards"));
    groups.get(shown.stratum).append(card(shown, image));
  });
  byId("wall").replaceChildren(...[...groups].flatMap(([stratum, list]) => {
    const heading = make("h4", "", TITLES[stratum] ?? stratum);
    return groups.size > 1 ? [heading, list] : [list];
  }));

  const draw = ({ image, slots, captions }) => {
    const put = image < FIRST ? pictures.put : pictures.putOnView;
    put(slots[0], "label", image);
    roles.forEach((role, index) => {
      put(slots[index + 1], "drawing", compared[role], image);
      const right = pictures.accuracy(compared[role], image);
      captions[index].lastChild.textContent = right === null ? "" : `${(100 * right).toFixed(1)} %`;
    });
  };
  state.watch(["a", "b"], () => cards.forEach(draw));
  state.watch(["image"], () => {
    for (const { image, button } of cards) {
      if (image === pictures.image) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
  });
}
