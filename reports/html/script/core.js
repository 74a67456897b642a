// The page reads without this script. What is shared by its parts: finding things, the data of the run, and the state that the address keeps.
"use strict";

const byId = (id) => document.getElementById(id);

// What was measured, as `reports/page_data.py` writes it.
const data = JSON.parse(byId("page-data").textContent);

for (const element of document.querySelectorAll(".needs-script")) element.hidden = false;

// The state of the page (which candidates, which image, which view) stands behind the section in the address, so that a link shows the same:
// `#images&a=avg_273_299&b=309`. Names stand there as text; nothing in the address is ever markup.
const state = (() => {
  const watchers = [];
  let section = "";
  let current = new Map();
  let waiting = 0;

  // What the address says: its section, where this page has it, and the values by key.
  const read = () => {
    const entries = [...new URLSearchParams(location.hash.slice(1))];
    return { named: entries.find(([key, value]) => value === "" && byId(key))?.[0], values: new Map(entries.filter(([, value]) => value !== "")) };
  };
  // Browsers refuse to be told of every step of a drag: some allow a hundred in half a minute.
  const write = () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      const address = new URL(location.href);
      address.hash = [section, String(new URLSearchParams([...current]))].filter(Boolean).join("&");
      if (address.href !== location.href) history.replaceState(null, "", address);
    }, 350);
  };
  const tell = (keys) => { for (const watcher of watchers) watcher(keys); };
  // Of an address with values the browser itself does not know where to go.
  const go = () => { if (location.hash.includes("&")) byId(section)?.scrollIntoView({ behavior: "instant" }); };

  const take = () => {
    const { named, values } = read();
    section = named ?? section;
    return values;
  };
  current = take();
  addEventListener("hashchange", () => {
    const values = take();
    // A link within the page names a section and nothing else: what was chosen stays.
    if (values.size > 0) {
      const changed = [...current.keys(), ...values.keys()].filter((key) => current.get(key) !== values.get(key));
      current = values;
      tell(new Set(changed));
      go();
    }
    write();
  });
  addEventListener("load", go);

  return {
    get: (key) => current.get(key),
    // Values of null forget a key, so that the address holds only what differs from the page as it opens.
    set(changes) {
      const wanted = Object.entries(changes).map(([key, value]) => [key, value === null || value === "" ? undefined : String(value)]);
      const changed = wanted.filter(([key, value]) => current.get(key) !== value);
      for (const [key, value] of changed) {
        if (value === undefined) current.delete(key);
        else current.set(key, value);
      }
      if (changed.length === 0) return;
      write();
      tell(new Set(changed.map(([key]) => key)));
    },
    // Calls back now, and whenever one of the keys changes.
    watch(keys, callback) {
      watchers.push((changed) => { if (keys.some((key) => changed.has(key))) callback(); });
      callback();
    },
  };
})();

// The two candidates that are compared everywhere, by their place in `data.cast`. Whoever is not among them counts as not chosen.
const compared = {
  place: (name) => data.cast.findIndex((each) => each.name === name),
  first: (...names) => names.map(compared.place).find((place) => place >= 0),
  get a() { return compared.first(state.get("a"), data.a) ?? 0; },
  get b() { return compared.first(state.get("b"), data.b) ?? Math.min(1, data.cast.length - 1); },
  // Where two different places stand among all pairs of the cast, as `data.gaps` and `data.class_gap_errors` list them.
  pair(one, other) {
    const [low, high] = one < other ? [one, other] : [other, one];
    return low * data.cast.length - (low * (low + 1)) / 2 + high - low - 1;
  },
};

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
