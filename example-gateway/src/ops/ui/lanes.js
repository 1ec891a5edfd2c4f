// All lanes, the newest activity first, and the keyboard among them.

import { Lane } from "./lane.js";

const LANES = 200;

export class Lanes {
  #lanes = new Map();
  #order = [];
  #owners = new WeakMap();
  #words = [];
  #root;
  #palette;
  #show;
  #open;

  // `show(turn, cell)` is called for the turn that is pointed at, with nothing when none is; `open(lane)`
  // for the session that is chosen.
  constructor(root, show, open) {
    this.#open = open;
    root.addEventListener("click", ({ target }) => {
      if (target.matches("button.name")) open(this.#laneOf(target.closest(".lane")));
    });
    this.#root = root;
    this.#show = show;
    root.addEventListener("keydown", (event) => this.#key(event));
    root.addEventListener("focusin", ({ target }) => this.#point(target));
    root.addEventListener("focusout", () => show());
    root.addEventListener("pointerover", ({ target }) => this.#point(target));
    root.addEventListener("pointerleave", () => this.#point(document.activeElement));
  }

  reset(lanes, palette) {
    this.#palette = palette;
    this.#lanes.clear();
    this.#order = [];
    this.#root.replaceChildren();
    this.#show();
    for (const { session, scope, turns } of lanes) {
      for (const turn of turns) this.add({ session, scope, ...turn });
    }
  }

  add(turn) {
    // Neither part holds a space.
    const name = `${turn.session ?? ""} ${turn.scope ?? ""}`;
    let lane = this.#lanes.get(name);
    if (!lane) {
      lane = new Lane(turn.session, turn.scope);
      this.#lanes.set(name, lane);
      this.#order.unshift(name);
      this.#root.prepend(lane.element);
    }
    lane.add(turn, this.#palette);
    this.#owners.set(lane.cells.at(-1), [lane, turn]);
    if (lane.turns.length === 1) {
      this.#filter(lane);
      if (this.#lanes.size > LANES) this.#drop();
    }
  }

  get size() {
    return this.#lanes.size;
  }

  get shown() {
    return this.#order.filter((name) => !this.#lanes.get(name).element.hidden).length;
  }

  get switched() {
    return [...this.#lanes.values()].filter((lane) => lane.turns.some((turn) => turn.switched)).length;
  }

  active(since) {
    return [...this.#lanes.values()].filter((lane) => lane.last.at >= since).length;
  }

  filter(text) {
    this.#words = text.toLowerCase().split(/\s+/).filter(Boolean);
    for (const lane of this.#lanes.values()) this.#filter(lane);
  }

  #filter(lane) {
    lane.element.hidden = !lane.matches(this.#words);
  }

  // Ages, and once nobody points at a lane their order.
  tick(now) {
    for (const lane of this.#lanes.values()) lane.tell(now);
    const busy = this.#root.matches(":hover") || this.#root.contains(document.activeElement);
    if (!busy) this.#sort(now);
    this.#stops();
  }

  #sort(now) {
    const idleness = new Map(this.#order.map((name) => [name, this.#lanes.get(name).idleness(now)]));
    // The sort is stable.
    this.#order.sort((one, other) => idleness.get(one) - idleness.get(other));
    let next = this.#root.firstChild;
    for (const name of this.#order) {
      const { element } = this.#lanes.get(name);
      if (element === next) next = next.nextSibling;
      else this.#root.insertBefore(element, next);
    }
  }

  #laneOf(element) {
    return [...this.#lanes.values()].find((lane) => lane.element === element);
  }

  #drop() {
    const idle = [...this.#lanes].reduce((one, other) => (other[1].last.at < one[1].last.at ? other : one));
    idle[1].element.remove();
    this.#lanes.delete(idle[0]);
    this.#order.splice(this.#order.indexOf(idle[0]), 1);
  }

  // Tab comes to the newest turn of each lane; arrow keys go on from there.
  #stops() {
    for (const lane of this.#lanes.values()) {
      const stop = lane.cells.includes(document.activeElement) ? document.activeElement : lane.cells.at(-1);
      if (lane.stop === stop) continue;
      if (lane.stop) lane.stop.tabIndex = -1;
      stop.tabIndex = 0;
      lane.stop = stop;
    }
  }

  // A scroll moved the cells: details stay with the turn that has the focus, and go with any other.
  follow() {
    const focused = document.activeElement;
    if (this.#owners.has(focused)) this.#point(focused);
    else this.#show();
  }

  #point(target) {
    const found = this.#owners.get(target);
    if (found) this.#show(found[1], target, this.#palette.mark(found[1].model));
    else if (!this.#root.contains(document.activeElement)) this.#show();
  }

  #key(event) {
    const found = this.#owners.get(event.target);
    if (!found) return;
    const target = this.#neighbour(event.key, found[0], found[0].cells.indexOf(event.target));
    if (event.key === "Escape") this.#show();
    if (event.key === "Enter" && found[0].session !== null) this.#open(found[0]);
    if (!target) return;
    event.preventDefault();
    target.focus();
  }

  #neighbour(key, lane, at) {
    const beside = (step) => {
      const lanes = this.#order.map((name) => this.#lanes.get(name)).filter((other) => !other.element.hidden);
      const other = lanes[lanes.indexOf(lane) + step];
      return other?.cells[Math.min(at, other.cells.length - 1)];
    };
    switch (key) {
      case "ArrowLeft": return lane.cells[at - 1];
      case "ArrowRight": return lane.cells[at + 1];
      case "Home": return lane.cells[0];
      case "End": return lane.cells.at(-1);
      case "ArrowUp": return beside(-1);
      case "ArrowDown": return beside(1);
      default: return undefined;
    }
  }
}
