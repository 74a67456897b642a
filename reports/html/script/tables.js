// Sorting: a click on a column's head sorts, another turns it round. Rows without a value stay last either way.
{
  const sort = (table, { cellIndex, classList }, direction) => {
    const value = (row) => row.cells[cellIndex].dataset.value ?? "";
    const sign = direction === "ascending" ? 1 : -1;
    const compare = classList.contains("n") ? (one, other) => one - other : (one, other) => one.localeCompare(other, "en", { numeric: true });
    const rows = [...table.tBodies[0].rows].sort((one, other) => {
      const [a, b] = [value(one), value(other)];
      return a === "" || b === "" ? (a === "") - (b === "") : sign * compare(a, b);
    });
    table.tBodies[0].append(...rows);
    table.dispatchEvent(new Event("sorted"));
  };

  const prepare = (table) => {
    const heads = [...table.tHead.rows[0].cells].filter((head) => !("fixed" in head.dataset));
    const order = () => table.tHead.querySelector("[aria-sort]");
    const show = (head, direction) => {
      order()?.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", direction);
      sort(table, head, direction);
    };
    // A table may keep its order in the address: `sort=fid`, or `sort=-fid` for the largest first.
    const key = table.dataset.state;
    const opening = { head: order(), direction: order()?.getAttribute("aria-sort") };
    const choose = (head, direction) => {
      if (!key) show(head, direction);
      else if (head === opening.head && direction === opening.direction) state.set({ [key]: null });
      else state.set({ [key]: (direction === "descending" ? "-" : "") + head.dataset.key });
    };

    for (const head of heads) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const turned = { ascending: "descending", descending: "ascending" };
        choose(head, turned[head.getAttribute("aria-sort")] ?? head.dataset.first ?? "ascending");
      });
    }
    if (key) {
      state.watch([key], () => {
        const [, minus, name] = /^(-?)(.*)$/s.exec(state.get(key) ?? "");
        const head = heads.find((each) => each.dataset.key === name);
        if (head) show(head, minus ? "descending" : "ascending");
        else show(opening.head, opening.direction);
      });
    }
    // A script that has changed a table's values says so.
    table.addEventListener("values", () => { if (order()) show(order(), order().getAttribute("aria-sort")); });
  };

  for (const table of document.querySelectorAll(".sortable")) prepare(table);
}
