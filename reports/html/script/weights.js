// Sliders for the weights of the total, which rank the candidates anew: scores as `apfgan.composite`, order as `apfgan.ranking.rank` has it.
if (byId("weights")) {
  const form = byId("weights");
  const board = byId("board");
  const decimals = Number(form.dataset.decimals);
  const sliders = [...form.querySelectorAll("[data-weight]")];

  const own = (name) => data.formula[name];
  const weight = (name) => {
    const text = state.get(name) ?? "";
    return text !== "" && Number(text) >= 0 && Number(text) <= 1 ? Number(text) : own(name);
  };

  // A sum rounded once, whatever its order: no two candidates change places by an error of rounding. (Shewchuk 1997, Discrete & Computational
  // Geometry 18: the errors of each addition are kept, and added themselves.)
  const sum = (terms) => {
    let parts = [];
    for (const term of terms) {
      let large = term;
      const errors = [];
      for (const part of parts) {
        const total = large + part;
        const back = total - large;
        const error = (large - (total - back)) + (part - back);
        if (error !== 0) errors.push(error);
        large = total;
      }
      parts = [...errors, large];
    }
    return parts.reduce((total, part) => total + part, 0);
  };

  const score = ({ metrics, style_similarity }) => {
    const closeness = (100 - Math.min(Math.max(metrics[data.distance], 0), data.clip)) / 100;
    const parts = [
      weight("aesthetic") * metrics.aesthetic / 10,
      weight("closeness") * closeness,
      (data.formula.style ?? 0) * ((style_similarity ?? 0) + 1) / 2,
      (data.formula.votes ?? 0) * (data.formula.votes_won ?? 0),
    ];
    return sum(parts.map((part) => metrics.mask_accuracy * part));
  };

  const ranked = () => data.candidates
    .map((candidate) => ({ ...candidate, score: score(candidate), before: candidate.rank }))
    .sort((one, other) =>
      other.score - one.score || other.metrics.mask_accuracy - one.metrics.mask_accuracy || other.latest - one.latest || one.before - other.before)
    .map((candidate, index) => ({ ...candidate, rank: index + 1 }));

  // Each candidate once, by the best of its seeds.
  const unseeded = ({ name }) => name.replace(/@[0-9]+$/, "");
  const firsts = (candidates) => candidates.filter((each, index) => candidates.findIndex((other) => unseeded(other) === unseeded(each)) === index);
  const before = firsts(data.candidates).map(unseeded);

  const banner = document.importNode(byId("reweighed-banner").content, true).firstElementChild;
  board.closest(".scroll").before(banner);
  const cells = new Map([...board.tBodies[0].rows].filter((row) => row.dataset.candidate !== undefined).map((row) => [row.dataset.candidate, {
    rank: row.querySelector(".rank"),
    score: row.querySelector(".score"),
    number: row.querySelector(".score .value"),
  }]));

  const shown = (number) => number.toFixed(decimals).replace("-", "−");
  const line = (candidate, index) => {
    const item = document.createElement("li");
    const write = (text, name) => {
      const part = document.createElement("span");
      part.className = name;
      part.textContent = text;
      item.append(part);
    };
    write(unseeded(candidate), "name");
    write(shown(candidate.score), "value");
    const place = before.indexOf(unseeded(candidate)) + 1;
    if (place !== index + 1) write(`${place > index + 1 ? "▲" : "▼"} from ${place}`, "muted small");
    return item;
  };

  const show = () => {
    const changed = sliders.some(({ dataset }) => weight(dataset.weight) !== own(dataset.weight));
    const order = changed ? ranked() : data.candidates;
    for (const slider of sliders) {
      slider.value = weight(slider.dataset.weight);
      byId(`${slider.id}-value`).textContent = weight(slider.dataset.weight).toFixed(2);
    }
    byId("weights-top").replaceChildren(...firsts(order).slice(0, 5).map(line));
    for (const { name, rank, score } of order) {
      const row = cells.get(name);
      if (!row) continue;
      row.rank.textContent = row.rank.dataset.value = rank;
      row.score.dataset.value = score;
      row.number.textContent = shown(score);
    }
    board.classList.toggle("reweighed", changed);
    for (const button of document.querySelectorAll("[data-reset-weights]")) button.disabled = !changed;
    banner.hidden = !changed;
    board.dispatchEvent(new Event("values"));
  };

  for (const slider of sliders) {
    const { weight: name } = slider.dataset;
    slider.addEventListener("input", () => state.set({ [name]: slider.valueAsNumber === own(name) ? null : slider.valueAsNumber }));
  }
  for (const button of document.querySelectorAll("[data-reset-weights]")) {
    button.addEventListener("click", () => state.set({ aesthetic: null, closeness: null }));
  }
  state.watch(["aesthetic", "closeness"], show);
}
