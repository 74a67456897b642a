// The grid: every label map by every candidate. It is built when it is first opened.
if (byId("grid")) {
  const table = byId("grid").querySelector("table");
  const cells = [];  // [image][place]

  const build = () => {
    const head = table.createTHead().insertRow();
    for (const text of ["label map", ...data.cast.map((each) => each.name)]) {
      const cell = document.createElement("th");
      const name = document.createElement("span");
      cell.scope = "col";
      cell.title = text;
      name.textContent = text;
      cell.append(name);
      head.append(cell);
    }
    const body = table.createTBody();
    data.panel.forEach((shown, image) => {
      const row = body.insertRow();
      const first = document.createElement("th");
      first.scope = "row";
      const slot = document.createElement("span");
      slot.className = "slot";
      const stem = document.createElement("span");
      stem.className = "stem";
      stem.textContent = shown.stem;
      first.append(slot, stem);
      row.append(first);
      pictures.putOnView(slot, "label", image);
      cells.push(data.cast.map((each, place) => {
        const button = document.createElement("button");
        const drawing = document.createElement("span");
        const right = pictures.accuracy(place, image);
        const number = document.createElement("span");
        button.type = "button";
        button.tabIndex = -1;
        button.dataset.image = image;
        button.dataset.place = place;
        drawing.className = "slot";
        number.className = "n small muted";
        number.textContent = right === null ? "" : right.toFixed(3);
        button.append(drawing, number);
        row.insertCell().append(button);
        pictures.putOnView(drawing, "drawing", place, image);
        return button;
      }));
    });
    // One stop for the Tab key; the arrow keys move within.
    cells[0][0].tabIndex = 0;
    state.watch(["a", "b", "image"], mark);
  };

  const mark = () => {
    for (const role of ["a", "b"]) {
      table.tHead.querySelector(`.${role}`)?.classList.remove(role);
      table.tHead.rows[0].cells[compared[role] + 1].classList.add(role);
    }
    table.querySelector("[aria-current]")?.removeAttribute("aria-current");
    cells[pictures.image][compared.b].setAttribute("aria-current", "true");
  };

  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  table.addEventListener("keydown", (event) => {
    const button = event.target.closest("button");
    const step = steps[event.key];
    if (!button || !step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    const next = cells[Number(button.dataset.image) + step[0]]?.[Number(button.dataset.place) + step[1]];
    if (!next) return;
    button.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
  table.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    state.set({ b: data.cast[button.dataset.place].name, image: data.panel[button.dataset.image].stem });
    byId("stage").scrollIntoView();
  });
  byId("grid").addEventListener("toggle", build, { once: true });
}
