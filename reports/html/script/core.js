// The page reads without this script. What is shared by its parts: finding things, the data of the run, and the state that the address keeps.
"use strict";

const byId = (id) => document.getElementById(id);

// What was measured, as `reports/page_data.py` writes it.
const data = JSON.parse(byId("data").textContent);

for (const element of document.querySelectorAll(".needs-script")) element.hidden = false;

// The state of the page (which candidates, which image, which view) stands behind the section in the address, so that a link shows the same:
// `#images&a=avg_273_299&b=309`. Names stand there as text; nothing in the address is ever markup.
const state = (() => {
  const watchers = [];
  const read = () => new URLSearchParams(location.hash.slice(1));
  let current = read();
  let section = "";
  let waiting = 0;

  const split = () => {
    section = [...current.entries()].find(([, value]) => value === "")?.[0] ?? section;
    for (const [key, value] of [...current.entries()]) if (value === "") current.delete(key);
  };
  // Browsers refuse to be told of every step of a drag.
  const write = () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      const text = [section, current.toString()].filter(Boolean).join("&");
      history.replaceState(null, "", text ? `#${text}` : location.pathname);
    }, 150);
  };
  const tell = (keys) => { for (const watcher of watchers) watcher(keys); };
  const scroll = () => { if (section) byId(section)?.scrollIntoView(); };

  split();
  addEventListener("hashchange", () => {
    const found = read();
    const stateless = [...found.values()].every((value) => value === "");
    if (stateless) {
      section = [...found.keys()][0] ?? section;
    } else {
      const before = current;
      current = found;
      split();
      tell(new Set([...before.keys(), ...current.keys()]));
      scroll();
    }
    write();
  });
  addEventListener("load", () => { if (location.hash.includes("=")) scroll(); });

  return {
    get: (key) => current.get(key),
    // Values of null forget a key, so that the address holds only what differs from the page as it opens.
    set(changes) {
      const changed = Object.entries(changes).filter(([key, value]) => (value === null ? current.has(key) : current.get(key) !== String(value)));
      for (const [key, value] of changed) {
        if (value === null) current.delete(key);
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

// The two candidates that are compared everywhere, by their place in `data.cast`; a name that the run does not know counts as none.
const compared = {
  place: (name) => data.cast.findIndex((each) => each.name === name),
  get a() { return Math.max(this.place(state.get("a") ?? data.a), 0); },
  get b() {
    const chosen = this.place(state.get("b") ?? data.b);
    return chosen >= 0 ? chosen : Math.min(1, data.cast.length - 1);
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
