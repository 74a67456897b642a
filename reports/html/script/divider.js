// A over B: the divider between them, and flicker.
if (byId("divider")) {
  const over = document.querySelector("#stage .over");
  const frame = over.querySelector(".frame");
  const range = byId("divider");
  const still = matchMedia("(prefers-reduced-motion: reduce)");

  // --- the divider: left of it A, right of it B
  const cut = (percent) => {
    range.value = percent;
    over.style.setProperty("--cut", `${range.value}%`);
    range.setAttribute("aria-valuetext", `${Math.round(range.value)} % A`);
  };
  cut(50);
  range.addEventListener("input", () => cut(range.value));

  const place = (event) => {
    const box = frame.getBoundingClientRect();
    return 100 * (event.clientX - box.left) / box.width;
  };
  frame.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || byId("stage").dataset.view !== "divider") return;
    // In a magnified picture a drag moves the picture, unless it begins at the line.
    const grip = 100 * 28 / frame.getBoundingClientRect().width;
    if (byId("images").classList.contains("magnified") && Math.abs(place(event) - range.value) > grip) return;
    event.preventDefault();
    event.stopImmediatePropagation();  // zoom.js listens here, too
    frame.setPointerCapture(event.pointerId);
    cut(place(event));
    const move = (moved) => cut(place(moved));
    frame.addEventListener("pointermove", move);
    frame.addEventListener("lostpointercapture", () => frame.removeEventListener("pointermove", move), { once: true });
  });

  // --- flicker: one of both at a time
  const flip = () => {
    over.dataset.front = over.dataset.front === "a" ? "b" : "a";
    byId("flicker-flip").textContent = `shown: ${over.dataset.front.toUpperCase()} – flip`;
  };
  over.dataset.front = "b";
  flip();
  byId("flicker-flip").addEventListener("click", flip);
  frame.addEventListener("click", () => {
    if (byId("stage").dataset.view === "flicker" && !byId("images").classList.contains("magnified")) flip();
  });

  const auto = byId("flicker-auto");
  let timer = 0;
  const run = (on) => {
    clearInterval(timer);
    timer = on ? setInterval(flip, 700) : 0;
    auto.setAttribute("aria-pressed", on);
  };
  auto.addEventListener("click", () => run(timer === 0));
  state.watch(["view"], () => { if (byId("stage").dataset.view !== "flicker") run(false); });
  const allow = () => {
    auto.disabled = still.matches;
    auto.title = still.matches ? "Your system asks for reduced motion" : "";
    if (still.matches) run(false);
  };
  still.addEventListener("change", allow);
  allow();
}
