// One session: its head, and its turns from the oldest to the newest.

import { cell, switchMark } from "./cell.js";
import { age, short } from "./format.js";

const TURNS = 100;

export class Lane {
  turns = [];
  cells = [];
  #strip = document.createElement("div");
  #name = document.createElement("button");
  #model = document.createElement("span");
  #age = document.createElement("span");

  constructor(session, scope) {
    this.session = session;
    this.scope = scope;
    this.element = document.createElement("div");
    this.element.className = "lane";
    this.element.setAttribute("role", "row");
    const head = document.createElement("div");
    head.className = "head";
    head.setAttribute("role", "rowheader");
    this.#name.className = "name";
    this.#name.type = "button";
    this.#name.textContent = session ?? "no session";
    this.#name.disabled = session === null;
    // The keyboard comes to it by Enter on a turn.
    this.#name.tabIndex = -1;
    head.append(this.#name);
    if (scope) {
      const chip = document.createElement("span");
      chip.className = "scope";
      chip.textContent = scope;
      chip.title = `scope ${scope}`;
      head.append(chip);
    }
    this.#age.className = "age";
    this.#model.className = "model";
    head.append(this.#age, this.#model);
    // The outer element scrolls from its end, so that the newest turn stays in sight.
    const scroller = document.createElement("div");
    scroller.className = "scroller";
    scroller.setAttribute("role", "presentation");
    this.#strip.className = "strip";
    this.#strip.setAttribute("role", "presentation");
    scroller.append(this.#strip);
    this.element.append(head, scroller);
  }

  get last() {
    return this.turns.at(-1);
  }

  add(turn, palette) {
    if (turn.switched) turn.before = this.last?.model;
    const element = cell(turn, palette.mark(turn.model));
    if (turn.switched) this.#strip.append(switchMark());
    this.#strip.append(element);
    this.turns.push(turn);
    this.cells.push(element);
    this.#model.textContent = short(turn.model);
    if (this.turns.length > TURNS) this.#forget();
  }

  #forget() {
    this.turns.shift();
    const gone = this.cells.shift();
    // With it whatever stands before it.
    while (this.#strip.firstChild !== gone) this.#strip.firstChild.remove();
    // The place of the keyboard moves on with the lane.
    if (gone === document.activeElement) this.cells[0].focus();
    gone.remove();
  }

  tell(now) {
    const text = age(now - this.last.at);
    if (this.#age.textContent !== text) this.#age.textContent = text;
  }

  // Sessions that are active stay where they are among each other; an idle one sinks.
  idleness(now) {
    return Math.floor(Math.log2(1 + Math.max(0, now - this.last.at) / 5000));
  }

  matches(words) {
    const { model, route, outcome } = this.last;
    const text = [this.session ?? "no session", this.scope, model, route, outcome].join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  }
}
