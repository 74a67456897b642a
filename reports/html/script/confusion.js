// What the mask judge takes for what: by A, by B, or by how much more A does so than B; and the images behind each mistake.
if (byId("confusion")) {
  const MOST_EXAMPLES = 6;
  const table = byId("confusion");
  const { rows } = table.tBodies[0];
  const NAMED = Number(table.dataset.named);  // so many classes; behind them come all others together
  const name = (index) => data.classes[index].name;
  const place = (cell) => [cell.parentElement.rowIndex - 1, cell.cellIndex - 1];
  const buttonAt = (row, column) => rows[row]?.cells[column + 1]?.querySelector("button") ?? null;
  let chosen = null;  // the mistake whose images are shown: [given, found]

  const mode = () => {
    const found = state.get("confusion");
    return data.cast.length > 1 && ["b", "difference"].includes(found) ? found : "a";
  };
  const whole = (share) => Math.floor(100 * share + 0.5);
  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  const signed = (number) => `${number > 0 ? "+" : ""}${number}`.replace("-", "−");

  // --- the cells
  const shares = (candidate) => new Map(data.confusion[candidate].map(([given, found, share]) => [`${given} ${found}`, share]));
  const fill = (cell, row, column, text, share, words) => {
    cell.dataset.heat = Math.floor(10 * Math.sqrt(Math.abs(share)) + 0.5);
    cell.dataset.side = share > 0 ? "a" : share < 0 ? "b" : "";
    if (text === "" || row === column || row >= NAMED || column >= NAMED) {
      cell.textContent = text;
      return;
    }
    const button = document.createElement("button");
    button.type = "button";
    button.tabIndex = -1;
    button.textContent = text;
    button.title = `${name(row)} taken for ${name(column)}: ${words}`;
    button.setAttribute("aria-label", button.title);
    cell.replaceChildren(button);
  };
  const fillAll = () => {
    const first = shares(mode() === "b" ? compared.b : compared.a);
    const second = mode() === "difference" ? shares(compared.b) : null;
    for (const [row, { cells }] of [...rows].entries()) {
      for (const [column, cell] of [...cells].slice(1).entries()) {
        const key = `${row} ${column}`;
        const [one, other] = [first.get(key) ?? 0, second?.get(key) ?? 0];
        if (one === 0 && other === 0) fill(cell, row, column, "", 0, "");
        else if (second === null) fill(cell, row, column, `${whole(one)}`, one, `${whole(one)} %`);
        else fill(cell, row, column, signed(whole(one - other)), one - other, `${signed(whole(one - other))} points, A ${whole(one)} %, B ${whole(other)} %`);
      }
    }
  };

  // --- the images behind a mistake: where it is largest, or by most larger than the other candidate's
  const size = (candidate, image) => data.mistakes[candidate][image].find(([given, found]) => given === chosen[0] && found === chosen[1])?.[2] ?? 0;
  const examplesOf = (candidate, other) => data.panel
    .map(({ stem }, image) => ({ stem, image, size: size(candidate, image), less: other === null ? 0 : size(other, image) }))
    .filter((each) => each.size > each.less)
    .sort((one, next) => next.size - next.less - (one.size - one.less))
    .slice(0, MOST_EXAMPLES);
  const look = (stem) => {
    state.set({ image: stem, view: "side", wrong: "1", class: name(chosen[0]) });
    byId("images-title").tabIndex = -1;
    byId("images-title").focus({ preventScroll: true });
    byId("images").scrollIntoView();
  };
  const example = (candidate, { stem, image, size, less }) => {
    const button = document.createElement("button");
    const text = document.createElement("span");
    const item = document.createElement("li");
    const picture = pictures.copy("drawing", candidate, image);
    button.type = "button";
    text.textContent = `${stem}: ${percent(size)} of the image${mode() === "difference" ? `, against ${percent(less)}` : ""}`;
    if (picture) {
      picture.alt = "";
      button.append(picture);
    }
    button.append(text);
    button.addEventListener("click", () => look(stem));
    item.append(button);
    return item;
  };
  const show = () => {
    const [title, note, list] = byId("examples").children;
    const button = chosen && buttonAt(...chosen);
    for (const each of table.querySelectorAll("[aria-pressed]")) each.removeAttribute("aria-pressed");
    button?.setAttribute("aria-pressed", "true");
    title.textContent = button ? `${name(chosen[0])} taken for ${name(chosen[1])}` : "";
    note.textContent = "Press a number to see the images in which that happens most.";
    list.replaceChildren();
    if (!button) return;
    const mine = mode() === "b" || (mode() === "difference" && button.parentElement.dataset.side === "b") ? "b" : "a";
    const other = mode() === "difference" ? compared[mine === "a" ? "b" : "a"] : null;
    const found = byId("images") ? examplesOf(compared[mine], other) : [];
    note.textContent = found.length > 0
      ? `Most by ${mine.toUpperCase()} in these label maps${other === null ? "" : `, compared with ${mine === "a" ? "B" : "A"}`}. Press one to see the wrong pixels.`
      : "In none of the pictures on this page does that cover half a percent of the image.";
    list.append(...found.map((each) => example(compared[mine], each)));
  };

  // --- one stop of the tabulator key for all cells, between which the arrows move
  const stopAt = (button) => {
    for (const each of table.querySelectorAll('[tabindex="0"]')) each.tabIndex = -1;
    if (button) button.tabIndex = 0;
  };
  const next = (cell, [down, across]) => {
    let [row, column] = place(cell);
    do [row, column] = [row + down, column + across];
    while (rows[row]?.cells[column + 1] && !buttonAt(row, column));
    return buttonAt(row, column);
  };
  table.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const button = next(event.target.closest("td"), step);
    stopAt(button ?? event.target);
    button?.focus();
  });
  table.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    chosen = place(button.parentElement);
    stopAt(button);
    show();
    byId("examples").scrollIntoView({ block: "nearest" });
  });

  for (const button of document.querySelectorAll("[data-confusion]")) {
    button.addEventListener("click", () => state.set({ confusion: button.dataset.confusion === "a" ? null : button.dataset.confusion }));
  }
  state.watch(["a", "b", "confusion"], () => {
    fillAll();
    table.dataset.mode = mode();
    for (const button of document.querySelectorAll("[data-confusion]")) button.setAttribute("aria-pressed", button.dataset.confusion === mode());
    for (const element of document.querySelectorAll("[data-shown]")) element.hidden = element.dataset.shown !== mode();
    stopAt((chosen && buttonAt(...chosen)) ?? table.querySelector("tbody button"));
    show();
  });
}
