// The stage: the label map, the photo and what A and B drew for it, beside one another or one over the other, with what is laid over them.
if (byId("stage")) {
  const stage = byId("stage");
  const views = [...document.querySelectorAll("#images button[data-view]")];
  const QUANTILE = 1.959964;  // of the standard normal distribution: the 95 % interval
  const JUDGED = data.cast.some((_, place) => data.panel.some((_, image) => pictures.has("found", place, image)));

  // --- the pictures, and the layers over them
  const layer = (part, ...names) => {
    const copies = names.map((name) => pictures.copy(...name)).filter(Boolean);
    for (const each of copies) {
      each.alt = "";
      each.classList.add("exact");
    }
    part.replaceChildren(...copies);
  };
  const dress = (pane) => {
    const { image } = pictures;
    const role = pane.dataset.pane;
    const place = compared[role];
    const label = ["label", image];
    const found = ["found", place, image];
    const judged = place !== undefined && pictures.has(...found);
    const base = pane.querySelector(".base");
    if (place === undefined) pictures.put(base, role, image);
    else pictures.put(base, state.get("found") && judged ? "found" : "drawing", place, image);
    // Found less asked for; what is unlabelled lies over both, since no judge counts it.
    layer(pane.querySelector(".wrong"), ...(state.get("wrong") && judged ? [label, found, label] : []));
    layer(pane.querySelector(".outside"), ...(state.get("class") ? [label] : []));
  };
  const panes = [...stage.querySelectorAll("[data-pane]")];
  const drawing = byId("pictures").querySelector("template").content.firstElementChild;
  byId("images").style.setProperty("--shape", `${drawing.width} / ${drawing.height}`);

  // --- in words
  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  const line = (className, ...parts) => {
    const element = document.createElement("span");
    element.className = className;
    element.append(...parts);
    return element;
  };
  const letter = (role) => {
    const element = document.createElement("b");
    element.className = `letter ${role}`;
    element.textContent = role.toUpperCase();
    return element;
  };
  const describe = (element) => {
    const role = element.dataset.facts;
    const candidate = data.cast[compared[role]];
    const right = pictures.accuracy(compared[role], pictures.image);
    const facts = [`rank ${candidate.rank}`];
    if (right !== null) facts.push(`mask accuracy here ${right.toFixed(3)}`);
    if (right !== null && state.get("wrong")) facts.push(`${percent(1 - right)} of the pixels wrong`);
    if ((state.get("wrong") || state.get("found")) && !pictures.has("found", compared[role], pictures.image)) facts.push("what the judge saw here is not stored");
    element.replaceChildren(letter(role), line("name", candidate.name), line("small muted", facts.join(" · ")));
  };

  // Score of A less score of B with its standard error, null where that is not known.
  const gap = (a, b) => {
    if (a === b) return { value: 0, error: 0 };
    const [value, error] = data.gaps[compared.pair(a, b)];
    return { value: a < b ? value : -value, error };
  };
  // Distribution function of the standard normal distribution, to 1e-7 (Abramowitz & Stegun 7.1.26).
  const normal = (z) => {
    const t = 1 / (1 + 0.3275911 * Math.abs(z) / Math.SQRT2);
    const tail = 0.5 * t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))) * Math.exp(-z * z / 2);
    return z > 0 ? 1 - tail : tail;
  };
  const chance = (p) => (p > 0.99 ? ">0.99" : p < 0.01 ? "<0.01" : p.toFixed(2));
  const compareInWords = () => {
    const { a, b } = compared;
    if (a === b) return "A and B are the same candidate.";
    const { value, error } = gap(a, b);
    const ahead = value >= 0 ? "A" : "B";
    // Two digits of the error.
    const decimals = error ? Math.min(Math.max(1 - Math.floor(Math.log10(error)), 0), 6) : 4;
    const size = Math.abs(value).toFixed(decimals);
    if (error === null) return `${ahead} is ahead by ${size} in score; the noise of that is not known.`;
    const probability = error === 0 ? Number(value !== 0) : normal(Math.abs(value) / error);
    // By this pair alone: the verdict, where the best was looked for among many, asks for more.
    const told = Math.abs(value) > QUANTILE * error ? "beyond" : "within";
    return `${ahead} is ahead by ${size} ± ${(QUANTILE * error).toFixed(decimals)} in score (95 % interval), ${told} the noise of the two; better with probability ${chance(probability)}.`;
  };

  const draw = () => {
    panes.forEach(dress);
    document.querySelectorAll("#images [data-facts]").forEach(describe);
    const names = byId("stage-b") ? `A ${data.cast[compared.a].name}, B ${data.cast[compared.b].name}` : data.cast[compared.a].name;
    byId("stage-status").textContent = `${data.panel[pictures.image].stem}, ${names}`;
    if (byId("stage-gap")) byId("stage-gap").textContent = compareInWords();
  };
  state.watch(["a", "b", "image", "found", "wrong", "class"], draw);

  // --- views and switches
  for (const button of views) {
    button.addEventListener("click", () => state.set({ view: button === views[0] ? null : button.dataset.view }));
  }
  if (views.length > 0) {
    state.watch(["view"], () => {
      const chosen = views.find((button) => button.dataset.view === state.get("view")) ?? views[0];
      stage.dataset.view = chosen.dataset.view;
      for (const button of views) button.setAttribute("aria-pressed", button === chosen);
    });
  }
  for (const key of ["wrong", "found"]) {
    const button = byId(`stage-${key}`);
    button.disabled = !JUDGED;
    if (!JUDGED) button.title = "What the judge saw is not stored with this run";
    button.addEventListener("click", () => state.set({ [key]: state.get(key) ? null : "1" }));
    state.watch([key], () => button.setAttribute("aria-pressed", Boolean(state.get(key))));
  }
}
