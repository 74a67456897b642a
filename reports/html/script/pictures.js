// Pictures: copies of the page's templates, put where they are wanted as they come into view; and which label map is looked at.
const pictures = (() => {
  // `drawing` and `found` are named by candidate and label map, `label` and `photo` by label map.
  const template = (...name) => byId(name.join("-"));
  const copy = (...name) => template(...name)?.content.firstElementChild.cloneNode() ?? null;
  const has = (...name) => template(...name) !== null;

  const blank = () => {
    const text = document.createElement("span");
    text.className = "blank";
    text.textContent = "no picture";
    return text;
  };

  // What was there stays until the new picture can be painted, so that nothing flashes in between; of quick changes the last one wins.
  const put = (slot, ...name) => {
    const wanted = name.join("-");
    if (slot.dataset.picture === wanted && slot.childElementCount > 0) return;
    slot.dataset.picture = wanted;
    const picture = copy(wanted);
    if (picture === null || slot.childElementCount === 0) {
      slot.replaceChildren(picture ?? blank());
      return;
    }
    picture.decode().catch(() => {}).then(() => { if (slot.dataset.picture === wanted) slot.replaceChildren(picture); });
  };

  const near = new Set();
  const observer = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) {
        near.add(target);
        put(target, target.dataset.wanted);
      } else {
        near.delete(target);
      }
    }
  }, { rootMargin: "400px", scrollMargin: "400px" });
  const putOnView = (slot, ...name) => {
    slot.dataset.wanted = name.join("-");
    observer.observe(slot);
    if (near.has(slot)) put(slot, slot.dataset.wanted);
    else if (slot.dataset.picture !== slot.dataset.wanted) slot.replaceChildren();
  };

  return {
    copy,
    has,
    put,
    putOnView,
    get image() { return Math.max(data.panel.findIndex((each) => each.stem === state.get("image")), 0); },
    choose(image) { state.set({ image: data.panel.at(image % data.panel.length).stem }); },
    accuracy: (place, image) => data.accuracy?.[place]?.[image] ?? null,
  };
})();
