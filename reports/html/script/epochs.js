// The slider over the trained epochs: what it chooses is B, for all pictures at once.
if (byId("epochs")) {
  const trained = data.cast.filter((each) => each.epoch > 0);
  const range = byId("epochs-range");
  const play = byId("epochs-play");
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  byId("epochs").hidden = trained.length < 2;
  range.max = Math.max(trained.length - 1, 0);

  const choose = (index) => state.set({ b: trained[index].name });
  let timer = 0;
  const run = (on) => {
    clearInterval(timer);
    timer = on ? setInterval(() => choose((Number(range.value) + 1) % trained.length), 600) : 0;
    play.setAttribute("aria-pressed", on);
    play.textContent = on ? "⏸ pause" : "▶ play";
  };
  range.addEventListener("input", () => { run(false); choose(range.value); });
  play.addEventListener("click", () => run(timer === 0));
  const allow = () => {
    play.disabled = still.matches;
    play.title = still.matches ? "Your system asks for reduced motion" : "";
    if (still.matches) run(false);
  };
  still.addEventListener("change", allow);
  allow();

  state.watch(["b"], () => {
    const chosen = data.cast[compared.b];
    const index = trained.indexOf(chosen);
    if (index >= 0) range.value = index;
    else range.value = trained.findLastIndex((each) => each.epoch <= chosen.latest);
    const text = index >= 0 ? `${chosen.epoch}` : "none";
    byId("epochs").classList.toggle("apart", index < 0);
    byId("epochs-text").textContent = text;
    range.setAttribute("aria-valuetext", index >= 0 ? `epoch ${chosen.epoch}` : `B is ${chosen.name}, no single epoch`);
  });
}
