// Accuracy by class of the two candidates. The page as it stands shows the pair that it opens with; for any other pair the same cells are filled
// here, by the rules of `reports/by_class.py`.
if (byId("classes-a")) {
  byId("classes-names").classList.add("chosen");

  const AXES = [1, 2, 5, 10, 20, 50, 100];
  const rows = [...byId("class-table").tBodies[0].rows];  // in the order of `data.classes`, whatever they are sorted by later
  const judged = data.classes.map(({ clear }) => clear !== null);

  // Halves go up, as Python rounds them.
  const tenths = (share) => Math.floor(1000 * share + 0.5);
  const points = (share) => (share === null ? "–" : (tenths(share) / 10).toFixed(1).replace("-", "−"));
  const signed = (share) => (share !== null && tenths(share) > 0 ? "+" : "") + points(share);

  // For each class: how far A is ahead, half of the interval, and who is clearly ahead.
  const compare = (a, b) => {
    const errors = data.class_gap_errors[compared.pair(a, b)];
    return data.classes.map(({ reach, clear }, index) => {
      const [one, other] = [data.class_accuracy[a][index], data.class_accuracy[b][index]];
      const gap = one === null || other === null ? null : one - other;
      const error = a === b ? 0 : errors?.[index] ?? null;
      const open = gap === null || error === null || clear === null || Math.abs(gap) <= clear * error;
      return { gap, half: error === null ? null : reach * error, ahead: open ? "" : gap > 0 ? "a" : "b" };
    });
  };
  const axisOf = (found) => {
    const counted = found.filter((_, index) => judged[index] || !judged.includes(true));
    const known = counted.filter(({ gap, half }) => gap !== null && half !== null).map(({ gap, half }) => 100 * (Math.abs(gap) + half));
    return AXES.find((axis) => known.every((reach) => reach <= axis)) ?? AXES.at(-1);
  };
  const put = (cell, value) => {
    cell.dataset.value = value ?? "";
    cell.textContent = points(value);
  };
  const draw = (svg, { gap, half, ahead }, axis) => {
    const place = (share) => Math.min(Math.max(Math.floor(500 + 50000 * share / axis + 0.5), 0), 1000);
    const known = gap !== null && half !== null;
    svg.setAttribute("class", ahead);
    for (const line of svg.querySelectorAll(".whole, .point")) line.setAttribute("visibility", known ? "visible" : "hidden");
    if (!known) return;
    const [whole, point] = [svg.querySelector(".whole"), svg.querySelector(".point")];
    whole.setAttribute("x1", place(gap - half));
    whole.setAttribute("x2", place(gap + half));
    for (const end of ["x1", "x2"]) point.setAttribute(end, place(gap));
  };
  const fill = (row, index, found, axis, { a, b }) => {
    const [, accuracyA, accuracyB, difference, forest, iouA, iouB] = row.cells;
    put(accuracyA, data.class_accuracy[a][index]);
    put(accuracyB, data.class_accuracy[b][index]);
    put(iouA, data.class_iou[a][index]);
    put(iouB, data.class_iou[b][index]);
    const [gap, half, ahead] = difference.children;
    difference.dataset.value = found.gap ?? "";
    gap.textContent = signed(found.gap);
    half.textContent = found.half === null ? "" : `± ${points(found.half)}`;
    ahead.className = `letter ${found.ahead}`;
    ahead.firstElementChild.textContent = found.ahead.toUpperCase();
    ahead.lastElementChild.textContent = found.ahead && " clearly ahead";
    draw(forest.firstElementChild, found, axis);
  };

  state.watch(["a", "b"], () => {
    const found = compare(compared.a, compared.b);
    const axis = axisOf(found);
    rows.forEach((row, index) => fill(row, index, found[index], axis, compared));
    for (const element of document.querySelectorAll("#class-table [data-axis]")) element.textContent = axis;
    for (const element of document.querySelectorAll("#classes-summary [data-count]")) {
      element.textContent = found.filter(({ ahead }, index) => judged[index] && ahead === element.dataset.count).length;
    }
    for (const role of ["a", "b"]) {
      const { name } = data.cast[compared[role]];
      for (const element of document.querySelectorAll(`#classes [data-name="${role}"]`)) element.textContent = name;
    }
    byId("class-table").dispatchEvent(new Event("values"));
  });
}
