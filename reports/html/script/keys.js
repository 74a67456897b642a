// Keys of the images: each presses a button, so that whatever a key does can be done without it.
if (byId("stage")) {
  const section = byId("images");
  const best = data.cast.toSorted((one, other) => one.rank - other.rank).slice(0, 9);
  const press = (id) => byId(id)?.click();
  const view = (name) => section.querySelector(`button[data-view="${name}"]`)?.click();
  const move = (across, down) => section.dispatchEvent(new CustomEvent("move-picture", { detail: [across, down] }));

  const flip = () => {
    if (byId("stage").dataset.view === "flicker") press("flicker-flip");
    else view("flicker");
  };
  const actions = {
    ArrowLeft: () => press("stage-previous"),
    ArrowRight: () => press("stage-next"),
    " ": flip,
    x: () => press("stage-swap"),
    d: () => view("divider"),
    s: () => view("side"),
    h: () => view("difference"),
    w: () => press("stage-wrong"),
    j: () => press("stage-found"),
    "+": () => press("zoom-in"),
    "=": () => press("zoom-in"),
    "-": () => press("zoom-out"),
    0: () => press("zoom-reset"),
  };
  const shifted = {
    ArrowLeft: () => move(-0.1, 0), ArrowRight: () => move(0.1, 0), ArrowUp: () => move(0, -0.1), ArrowDown: () => move(0, 0.1),
  };
  const told = [
    ["← →", "previous, next label map"],
    ["Space", "flicker: flip A and B"],
    ["x", "swap A and B"],
    ["d s h", "divider, side by side, difference"],
    ["w", "wrong pixels"],
    ["j", "what the judge sees"],
    ["+ − 0", "zoom in, out, whole picture"],
    ["Shift + arrows", "move the magnified picture"],
    ["1 … 9", `the best candidates as B: ${best.map((each, index) => `${index + 1} ${each.name}`).join(", ")}`],
    ["Shift + 1 … 9", "the same as A"],
  ];
  for (const [keys, meaning] of told) {
    const term = document.createElement("dt");
    const description = document.createElement("dd");
    term.textContent = keys;
    description.textContent = meaning;
    byId("stage-keys").append(term, description);
  }

  const inView = () => {
    const box = byId("stage").getBoundingClientRect();
    return box.top < innerHeight && box.bottom > 0;
  };
  const digit = (event) => {
    const number = Number(/^Digit([1-9])$/.exec(event.code)?.[1]);
    return best[number - 1] && (() => state.set({ [event.shiftKey ? "a" : "b"]: best[number - 1].name }));
  };
  document.addEventListener("keydown", (event) => {
    const { target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || target.closest("input, select, textarea")) return;
    if (!section.contains(target) && !(target === document.body && inView())) return;
    // Space presses what has the focus.
    if (event.key === " " && target.closest("button, summary, a")) return;
    const action = digit(event) || (event.shiftKey && shifted[event.key]) || actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
