// Choosing the two candidates that are compared, wherever the page offers it, and the label map that is looked at.
{
  const TITLES = { epoch: "epochs", merge: "merges", variant: "variants" };

  // `groups`: a title for each list of [text, value].
  const fill = (select, items, titleOf, optionOf) => {
    const groups = new Map();
    for (const item of items) {
      const title = titleOf(item);
      if (!groups.has(title)) {
        const group = document.createElement("optgroup");
        group.label = title;
        groups.set(title, group);
      }
      groups.get(title).append(optionOf(item));
    }
    select.append(...groups.values());
  };

  for (const select of document.querySelectorAll("select[data-choose]")) {
    const role = select.dataset.choose;
    fill(select, data.cast, (each) => TITLES[each.kind] ?? "others", (each) => new Option(`${each.name} · rank ${each.rank}`, each.name));
    select.addEventListener("change", () => state.set({ [role]: select.value }));
    state.watch([role], () => { select.value = data.cast[compared[role]].name; });
  }
  byId("stage-swap")?.addEventListener("click", () => state.set({ a: data.cast[compared.b].name, b: data.cast[compared.a].name }));

  if (byId("stage")) {
    const image = byId("stage-image");
    const reason = (each) => [each.stratum, each.why].filter(Boolean).join(": ");
    fill(image, data.panel, (each) => each.stratum, (each) => new Option([each.stem, each.why].filter(Boolean).join(": "), each.stem));
    image.addEventListener("change", () => state.set({ image: image.value }));
    byId("stage-previous").addEventListener("click", () => pictures.choose(pictures.image - 1));
    byId("stage-next").addEventListener("click", () => pictures.choose(pictures.image + 1));
    state.watch(["image"], () => {
      const shown = data.panel[pictures.image];
      image.value = shown.stem;
      byId("stage-why").textContent = `${pictures.image + 1} of ${data.panel.length} – ${reason(shown)}`;
      byId("stage-content").textContent = shown.content;
    });
  }
}
