// Zoom and pan, of all pictures of the stage at once.
if (byId("stage")) {
  const section = byId("images");
  const MOST = 8;
  const limit = (value, low, high) => Math.min(Math.max(value, low), high);

  // How much it is magnified, and which point of the picture (0 to 1) is in the middle of its frame.
  const within = (wanted) => {
    const scale = limit(wanted.scale, 1, MOST);
    const margin = 0.5 / scale;
    return { scale, x: limit(wanted.x, margin, 1 - margin), y: limit(wanted.y, margin, 1 - margin) };
  };
  const read = () => {
    const [scale, x, y] = (state.get("zoom") ?? "").split(",").map(Number);
    return within({ scale: scale || 1, x: x || 0.5, y: y || 0.5 });
  };
  const write = (wanted) => {
    const { scale, x, y } = within(wanted);
    state.set({ zoom: scale < 1.001 ? null : [scale.toFixed(2), x.toFixed(4), y.toFixed(4)].join(",") });
  };
  // Around a point of the frame, which stays where it is; (0.5, 0.5) is its middle.
  const magnify = (factor, across = 0.5, down = 0.5) => {
    const before = read();
    const scale = limit(before.scale * factor, 1, MOST);
    const shift = 1 / before.scale - 1 / scale;
    write({ scale, x: before.x + (across - 0.5) * shift, y: before.y + (down - 0.5) * shift });
  };

  state.watch(["zoom"], () => {
    const { scale, x, y } = read();
    for (const [name, value] of Object.entries({ "--zoom": scale, "--x": x, "--y": y })) section.style.setProperty(name, value);
    section.classList.toggle("magnified", scale > 1);
    section.classList.toggle("close", scale >= 4);
    byId("zoom-range").value = Math.log2(scale);
    byId("zoom-range").setAttribute("aria-valuetext", `${Math.round(100 * scale)} %`);
    byId("zoom-reset").textContent = `${Math.round(100 * scale)} %`;
  });
  byId("zoom-range").addEventListener("input", (event) => magnify(2 ** event.target.value / read().scale));
  byId("zoom-in").addEventListener("click", () => magnify(1.25));
  byId("zoom-out").addEventListener("click", () => magnify(0.8));
  byId("zoom-reset").addEventListener("click", () => write({ scale: 1, x: 0.5, y: 0.5 }));

  for (const frame of document.querySelectorAll("#stage .frame")) {
    frame.addEventListener("dragstart", (event) => event.preventDefault());  // of the picture as a file
    frame.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      const box = frame.getBoundingClientRect();
      magnify(2 ** (-event.deltaY / 200), (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
    }, { passive: false });
    frame.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || read().scale === 1) return;
      event.preventDefault();
      frame.setPointerCapture(event.pointerId);
      const box = frame.getBoundingClientRect();
      const from = read();
      const move = (moved) => write({
        scale: from.scale,
        x: from.x - (moved.clientX - event.clientX) / box.width / from.scale,
        y: from.y - (moved.clientY - event.clientY) / box.height / from.scale,
      });
      frame.addEventListener("pointermove", move);
      frame.addEventListener("lostpointercapture", () => frame.removeEventListener("pointermove", move), { once: true });
    });
  }
  // Asked for by keys.js, in shares of the frame.
  section.addEventListener("move-picture", ({ detail: [across, down] }) => {
    const from = read();
    write({ ...from, x: from.x + across / from.scale, y: from.y + down / from.scale });
  });
}
