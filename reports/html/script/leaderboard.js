// The leaderboard: which rows are shown, whom A and B are, and the rows as text to take away. Its order is kept by `tables.js`.
if (byId("board")) {
  const table = byId("board");
  const rows = () => [...table.tBodies[0].rows];
  const heads = [...table.tHead.rows[0].cells];
  // What a cell stands for: its value, or several.
  const exact = ({ dataset }) => (dataset.csv === undefined ? [dataset.value ?? ""] : JSON.parse(dataset.csv));
  const groups = Map.groupBy(rows().filter((row) => "folds" in row.dataset), (row) => row.dataset.group);

  const button = (text, look) => {
    const made = document.createElement("button");
    made.type = "button";
    made.className = look;
    made.textContent = text;
    return made;
  };

  // Seeds of one candidate fold under the first of their rows, whatever the order. The address names the candidates that are unfolded; 1: all.
  const unfolded = () => {
    const text = state.get("seeds") ?? "";
    return new Set(text === "1" ? groups.keys() : text.split(" ").filter((name) => groups.has(name)));
  };
  const unfold = (names) => state.set({ seeds: names.size === groups.size ? "1" : [...names].join(" ") });
  const folding = new Map([...groups].map(([name]) => {
    const made = button("", "fold");
    made.addEventListener("click", () => {
      const names = unfolded();
      if (!names.delete(name)) names.add(name);
      unfold(names);
      made.focus();
    });
    return [name, made];
  }));
  byId("board-seeds")?.addEventListener("click", () => unfold(unfolded().size === groups.size ? new Set() : new Set(groups.keys())));

  const show = () => {
    const words = (state.get("filter") ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    const open = unfolded();
    const folded = new Map();
    for (const row of rows()) {
      const text = [...row.querySelectorAll("th, td:not(.n, .forest)")].flatMap(exact).join(" ").toLowerCase();
      const group = groups.has(row.dataset.group) ? row.dataset.group : null;
      row.hidden = !words.every((word) => text.includes(word));
      if (row.hidden || group === null) continue;
      if (!folded.has(group)) {
        folded.set(group, 0);
        row.querySelector(".members").append(folding.get(group));
      } else if (!open.has(group) && !("stays" in row.dataset)) {
        row.hidden = true;
        folded.set(group, folded.get(group) + 1);
      }
    }
    for (const [name, made] of folding) {
      const count = open.has(name) ? groups.get(name).length - 1 : folded.get(name) ?? 0;
      made.textContent = open.has(name) ? "fold seeds" : `+${count} seed${count === 1 ? "" : "s"}`;
      made.setAttribute("aria-expanded", open.has(name));
      made.setAttribute("aria-label", `${made.textContent} of ${name}`);
      made.hidden = count === 0;
    }
    byId("board-seeds")?.setAttribute("aria-pressed", open.size === groups.size);
    const hidden = [...folded.values()].reduce((sum, count) => sum + count, 0);
    const shown = rows().filter((row) => !row.hidden).length;
    byId("board-count").textContent = `${shown} of ${rows().length} shown${hidden ? `, ${hidden} seed${hidden === 1 ? "" : "s"} folded` : ""}`;
    bracket();
    mark();
  };

  // The bracket of what the noise does not tell apart holds only in the order of the ranks, and with the formula's own weights.
  const bracket = () => {
    const ordered = heads.find((head) => head.dataset.key === "rank").getAttribute("aria-sort") === "ascending";
    const drawn = ordered && !table.classList.contains("reweighed");
    const shown = rows().filter((row) => !row.hidden);
    shown.forEach((row, index) => {
      const tied = (other) => drawn && other !== undefined && other.classList.contains("tied");
      row.classList.toggle("held", tied(row));
      row.classList.toggle("held-first", tied(row) && !tied(shown[index - 1]));
      row.classList.toggle("held-last", tied(row) && !tied(shown[index + 1]));
    });
  };

  // Whoever has no pictures of its own is compared by another seed of it that has. The two are never the same: choosing one's partner swaps them.
  const choosers = rows().flatMap((row) => {
    const name = row.dataset.standIn;
    const cell = row.querySelector(".pairs");
    if (name === undefined || cell === null) return [];
    return ["a", "b"].map((role) => {
      const made = button(role.toUpperCase(), `choose ${role}`);
      const shown = name === row.dataset.candidate ? name : `${row.dataset.candidate} (shown by ${name})`;
      made.setAttribute("aria-label", `compare ${shown} as ${role.toUpperCase()}`);
      made.title = made.getAttribute("aria-label");
      made.addEventListener("click", () => {
        const other = role === "a" ? "b" : "a";
        const partner = data.cast[compared[other]]?.name;
        const before = data.cast[compared[role]]?.name;
        state.set(partner === name ? { [role]: name, [other]: before } : { [role]: name });
      });
      cell.append(made);
      return { row, role, made, name };
    });
  });
  const mark = () => {
    const hidden = new Set(rows().filter((row) => row.hidden).map((row) => row.dataset.candidate));
    for (const { row, role, made, name } of choosers) {
      const chosen = name === data.cast[compared[role]]?.name && (row.dataset.candidate === name || hidden.has(name));
      made.setAttribute("aria-pressed", chosen);
    }
  };

  byId("filter").addEventListener("input", ({ target }) => state.set({ filter: target.value }));
  table.addEventListener("sorted", show);
  state.watch(["filter", "seeds"], () => {
    if (byId("filter").value !== (state.get("filter") ?? "")) byId("filter").value = state.get("filter") ?? "";
    show();
  });
  state.watch(["a", "b"], mark);

  // The rows as shown, in their order. CSV has every digit, under the names of scores.csv; the others have what is read.
  const columns = () => heads.filter((head) => "csv" in head.dataset && !(table.classList.contains("reweighed") && head.classList.contains("of-own-weights")));
  const shown = () => rows().filter((row) => !row.hidden);
  const read = (cell) => (cell.matches("th") ? cell.dataset.value : cell.textContent).replace(/\s+/g, " ").replace(/[▸]/g, "").trim();
  const numeric = (head) => head.classList.contains("n") || head.classList.contains("forest");
  const forms = {
    csv: () => {
      const names = columns().flatMap((head) => head.dataset.csv.split(" "));
      const values = (row, head) => {
        const text = (each) => (numeric(head) ? each : quoted(defused(each)));
        return exact(row.cells[head.cellIndex]).map(text);
      };
      return [names, ...shown().map((row) => columns().flatMap((head) => values(row, head)))].map((line) => `${line.join(",")}\n`).join("");
    },
    markdown: () => {
      const escaped = (text) => text.replace(/[\\`*_{}[\]<>|~$#&]/g, "\\$&");
      const line = (cells) => `| ${cells.join(" | ")} |\n`;
      const body = shown().map((row) => line(columns().map((head) => escaped(read(row.cells[head.cellIndex])))));
      return [line(columns().map((head) => escaped(head.dataset.title))), line(columns().map((head) => (numeric(head) ? "---:" : "---"))), ...body].join("");
    },
    latex: () => {
      const special = {
        "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "±": "$\\pm$", "−": "$-$", "–": "--", "<": "$<$", ">": "$>$",
        "|": "$|$", '"': "\\textquotedbl{}", "✓": "", "*": "{*}",
      };
      const escaped = (text) => text.replace(/[\\~^±−–<>|"✓*]|[{}$&#_%]/g, (sign) => special[sign] ?? `\\${sign}`).trim();
      const line = (cells) => `  ${cells.join(" & ")} \\\\\n`;
      const body = shown().map((row) => line(columns().map((head) => escaped(read(row.cells[head.cellIndex])))));
      const aligned = columns().map((head) => (numeric(head) ? "r" : "l")).join("");
      const top = ["% \\usepackage{booktabs}, \\usepackage[T1]{fontenc}\n", `\\begin{tabular}{${aligned}}\n`, "  \\toprule\n"];
      return [...top, line(columns().map((head) => escaped(head.dataset.title))), "  \\midrule\n", ...body, "  \\bottomrule\n", "\\end{tabular}\n"].join("");
    },
  };
  // As `reports/tables.py` does: a spreadsheet takes no text for a formula.
  const defused = (text) => (/^[=+\-@\t\r]/.test(text) ? `'${text}` : text);
  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

  for (const chosen of document.querySelectorAll("#leaderboard [data-form]")) {
    chosen.addEventListener("click", async () => {
      const text = forms[chosen.dataset.form]();
      const field = byId("board-text");
      try {
        await navigator.clipboard.writeText(text);
        field.hidden = true;
        byId("board-status").textContent = `${shown().length} rows copied`;
      } catch {
        field.value = text;
        field.hidden = false;
        field.focus();
        field.select();
        byId("board-status").textContent = "selected below: copy it with Ctrl+C";
      }
    });
  }
}
