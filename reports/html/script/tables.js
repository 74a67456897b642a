// Sorting: a click sorts, another turns it round. Rows without a value stay last either way.
function sortBy(table, column, direction) {
  const value = (row) => row.cells[column].dataset.value ?? "";
  const numeric = table.tHead.rows[0].cells[column].classList.contains("n");
  const sign = direction === "ascending" ? 1 : -1;
  const rows = [...table.tBodies[0].rows].sort((one, other) => {
    const a = value(one), b = value(other);
    if (a === "" || b === "") return (a === "") - (b === "");
    return sign * (numeric ? Number(a) - Number(b) : a.localeCompare(b, "en", { numeric: true }));
  });
  table.tBodies[0].append(...rows);
}

for (const table of document.querySelectorAll(".sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    if ("fixed" in head.dataset) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const turned = { ascending: "descending", descending: "ascending" };
      const direction = turned[head.getAttribute("aria-sort")] ?? head.dataset.first ?? "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", direction);
      sortBy(table, column, direction);
    });
  });
  // A script that has changed a table's values says so.
  table.addEventListener("values", () => {
    const head = table.tHead.querySelector("[aria-sort]");
    if (head) sortBy(table, head.cellIndex, head.getAttribute("aria-sort"));
  });
}

byId("filter")?.addEventListener("input", (event) => {
  const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of byId("board").tBodies[0].rows) {
    const text = `${row.cells[1].dataset.value} ${row.cells[2].dataset.value}`.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
  }
});
