// Curves over epochs: a choice in one of them is B everywhere, and the epochs of A and B are marked in all of them.
{
  // Name of A or B, also where nothing but numbers can be compared.
  const current = (role) => data.cast[compared[role]]?.name ?? state.get(role) ?? data[role];

  if (byId("curves-epochs")) {
    const plots = byId("curves-plots");
    const epochs = [...byId("curves-epochs").children];
    const readout = byId("curves-readout");
    const middle = (epoch) => Number(epoch.dataset.middle);
    // Who stands for an epoch among those that can be compared; nobody, where many had to be left out.
    const standIn = ({ dataset }) => (data.cast.length === 0 ? dataset.candidate : data.cast.find((each) => each.epoch === Number(dataset.epoch))?.name);

    // The epoch of a candidate, whichever seed it was drawn with.
    const epochOf = (name) => {
      const found = data.candidates.find((each) => each.name === name);
      return epochs.find((each) => found && Number(each.dataset.epoch) === found.epoch);
    };

    const tell = (epoch) => {
      const words = epoch.getAttribute("aria-label");
      const text = `E${words.slice(1)}${standIn(epoch) ? "" : ". It is not among those that can be compared here"}`;
      if (readout.textContent !== text) readout.textContent = text;
    };
    const tellChosen = () => {
      const chosen = epochOf(current("b"));
      if (chosen) tell(chosen);
      else readout.textContent = `B is ${current("b")}, no single epoch`;
    };
    const choose = (epoch) => {
      if (standIn(epoch)) state.set({ b: standIn(epoch) });
      tell(epoch);
    };

    const place = (selector, x, shift = 0) => {
      for (const each of plots.querySelectorAll(selector)) {
        each.setAttribute("display", x === undefined ? "none" : "inline");
        each.setAttribute("transform", `translate(${x ?? 0})`);
        each.querySelector("text")?.setAttribute("x", shift);
      }
    };
    // One Tab stop for all epochs: the one that is B, or else the last.
    const makeStop = (epoch) => { for (const each of epochs) each.tabIndex = each === epoch ? 0 : -1; };

    state.watch(["a", "b"], () => {
      const [a, b] = ["a", "b"].map((role) => epochOf(current(role)));
      const [left, right] = [a, b].map((epoch) => epoch && middle(epoch));
      const near = Math.abs(left - right) < 14;
      place(".epoch-mark.a", left, near ? (left > right ? 7 : -7) : 0);
      place(".epoch-mark.b", right, near ? (left > right ? -7 : 7) : 0);
      for (const each of epochs) each.setAttribute("aria-checked", each === b);
      if (!epochs.includes(document.activeElement)) makeStop(b ?? epochs.at(-1));
      tellChosen();
    });

    for (const epoch of epochs) {
      if (!standIn(epoch)) epoch.setAttribute("aria-disabled", "true");
      epoch.addEventListener("focus", () => { makeStop(epoch); tell(epoch); });
    }
    byId("curves-epochs").addEventListener("keydown", (event) => {
      const at = epochs.indexOf(event.target);
      const steps = { ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1, Home: 0, End: epochs.length - 1, " ": at, Enter: at };
      if (!(event.key in steps) || event.altKey || event.ctrlKey || event.metaKey) return;
      const epoch = epochs[Math.min(Math.max(steps[event.key], 0), epochs.length - 1)];
      event.preventDefault();
      event.stopPropagation();
      epoch.focus();
      choose(epoch);
    });

    // All panels have the same axis of epochs, so what is under the pointer follows from where it is in its panel.
    for (const overlay of plots.querySelectorAll(".overlay")) {
      const under = (event) => {
        const box = overlay.getBoundingClientRect();
        const x = ((event.clientX - box.left) / box.width) * overlay.firstElementChild.viewBox.baseVal.width;
        return epochs.reduce((one, other) => (Math.abs(middle(other) - x) < Math.abs(middle(one) - x) ? other : one));
      };
      overlay.addEventListener("click", (event) => choose(under(event)));
      overlay.addEventListener("pointermove", (event) => {
        const epoch = under(event);
        place(".epoch-cursor", middle(epoch));
        tell(epoch);
      });
      overlay.addEventListener("pointerleave", () => { place(".epoch-cursor"); tellChosen(); });
    }
  }

  // Trade-offs: rings around A and B.
  if (byId("tradeoffs-rings")) {
    const spots = [...byId("tradeoffs-rings").querySelectorAll(".spot")];
    state.watch(["a", "b"], () => {
      for (const role of ["a", "b"]) {
        const spot = spots.find((each) => each.dataset.candidate === current(role));
        const ring = byId("tradeoffs-rings").querySelector(`.ring.${role}`);
        ring.setAttribute("display", spot ? "inline" : "none");
        if (spot) ring.setAttribute("transform", `translate(${spot.getAttribute("cx")} ${spot.getAttribute("cy")})`);
      }
    });
  }
}
