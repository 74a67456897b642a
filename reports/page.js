// The page reads without this script; it adds sorting, filtering, the theme button, copying and the comparison of two pictures.
"use strict";

const byId = (id) => document.getElementById(id);

for (const element of document.querySelectorAll(".copy, .filter, .needs-script, #theme")) element.hidden = false;

// Theme: the system's, light or dark. Kept while the page is open, and beyond where the browser lets a local file keep anything.
{
  const button = byId("theme");
  const themes = ["system", "light", "dark"];
  const show = (theme) => {
    button.textContent = `theme: ${theme}`;
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  };
  const remembered = () => { try { return localStorage.getItem("apfgan-theme"); } catch { return null; } };
  const remember = (theme) => { try { localStorage.setItem("apfgan-theme", theme); } catch { /* a private window */ } };
  let current = themes.includes(remembered()) ? remembered() : "system";
  show(current);
  button.addEventListener("click", () => {
    current = themes[(themes.indexOf(current) + 1) % themes.length];
    remember(current);
    show(current);
  });
}

for (const button of document.querySelectorAll(".copy")) {
  button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "selected";
    }
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  });
}

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
}

byId("filter")?.addEventListener("input", (event) => {
  const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of byId("board").tBodies[0].rows) {
    const text = `${row.cells[1].dataset.value} ${row.cells[2].dataset.value}`.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
  }
});

// Comparison of two pictures of one label map.
if (byId("grid")) {
  const dialog = byId("compare"), stage = byId("compare-stage"), divider = byId("compare-divider"), mode = byId("compare-mode");
  const chooseA = byId("compare-a"), chooseB = byId("compare-b");
  const rows = [...byId("grid").tBodies[0].rows];
  const titles = [...byId("grid").tHead.rows[0].cells].map((head) => head.querySelector(".title").textContent);
  let at = 0;

  titles.forEach((title, index) => { for (const choose of [chooseA, chooseB]) choose.add(new Option(`${index + 1}  ${title}`, index)); });

  const fill = (side, column) => {
    const source = rows[at].cells[column].querySelector("img");
    const image = byId(`compare-${side}`);
    if (source) image.src = source.src;
    else image.removeAttribute("src");
    image.alt = source ? source.alt : "no image";
    byId(`compare-${side}-name`).textContent = titles[column];
  };
  const divide = () => {
    const side = stage.classList.contains("side");
    stage.lastElementChild.style.clipPath = side ? "" : `inset(0 0 0 ${divider.value}%)`;
    divider.hidden = side;
  };
  const show = () => {
    byId("compare-stem").textContent = `${rows[at].dataset.stem}  (${at + 1} of ${rows.length})`;
    fill("left", Number(chooseA.value));
    fill("right", Number(chooseB.value));
    divide();
  };
  const swap = () => {
    [chooseA.value, chooseB.value] = [chooseB.value, chooseA.value];
    show();
  };

  rows.forEach((row, rowIndex) => [...row.cells].forEach((cell, column) => {
    const image = cell.querySelector("img");
    if (!image) return;
    const button = document.createElement("button");
    button.type = "button";
    image.replaceWith(button);
    button.append(image);
    button.addEventListener("click", () => {
      at = rowIndex;
      chooseB.value = column;
      if (chooseA.value === chooseB.value || !dialog.dataset.used) chooseA.value = column === 0 ? titles.length - 1 : 0;
      dialog.dataset.used = "yes";
      show();
      dialog.showModal();
      divider.focus();
    });
  }));
  for (const choose of [chooseA, chooseB]) choose.addEventListener("change", show);
  divider.addEventListener("input", divide);
  byId("compare-close").addEventListener("click", () => dialog.close());
  mode.addEventListener("click", () => {
    mode.setAttribute("aria-pressed", String(stage.classList.toggle("side")));
    divide();
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.target.matches("select") || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const digit = Number(event.key);
    if (step) at = (at + step + rows.length) % rows.length;
    else if (digit >= 1 && digit <= titles.length) chooseB.value = digit - 1;
    else if (event.key === " " && !event.target.matches("button")) swap();
    else return;
    event.preventDefault();
    show();
  });
}
