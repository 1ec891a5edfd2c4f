// Targets that cool down: what failed, why, and how long it is left alone. Each can be cleared.

import { Pace, call } from "./call.js";

const PATH = "/admin/v1/cooldowns";
// There may be as many targets as clients have made up names.
const ROWS = 20;
const CAUSES = { connect: "no connection", timeout: "no answer" };

const find = (id) => document.getElementById(id);

export class Cooldowns {
  #rows = new Map();
  #pace = new Pace();
  // An answer counts only if nothing was asked or cleared since its question.
  #question = 0;

  // Asks the gateway, to be called about once a second: it asks less often, and only if somebody looks.
  async ask(token) {
    if (!this.#pace.due()) return;
    const question = this.#next();
    const { status, answer } = await call("GET", PATH, token);
    if (question !== this.#question || status !== 200) return;
    find("cleared").textContent = "";
    this.#show(answer.cooldowns, token);
  }

  // Counts down.
  tick() {
    for (const row of this.#rows.values()) row.tick();
  }

  reset() {
    this.#next();
    this.#pace.hurry();
    find("cleared").textContent = "";
    this.#show([]);
  }

  #next() {
    this.#question += 1;
    return this.#question;
  }

  // Rows that stay are kept, so that neither the focus nor a first click is lost.
  #show(cooldowns, token) {
    const shown = cooldowns.slice(0, ROWS).map((cooling) => {
      const name = JSON.stringify([cooling.kind, cooling.target]);
      const row = this.#rows.get(name) ?? new Row(cooling, (row) => this.#clicked(row, name, token));
      row.update(cooling);
      return [name, row];
    });
    this.#rows = new Map(shown);
    const items = shown.map(([, row]) => row.item);
    const list = find("cooldowns");
    if (items.length !== list.children.length || items.some((item, at) => item !== list.children[at])) {
      const focused = document.activeElement;
      list.replaceChildren(...items);
      if (list.contains(focused)) focused.focus({ preventScroll: true });
    }
    find("cooling").hidden = items.length === 0;
    const more = cooldowns.length - items.length;
    find("cooling-more").textContent = more > 0 ? `and ${more} more` : "";
  }

  #clicked(row, name, token) {
    const armed = row.armed;
    for (const one of this.#rows.values()) one.arm(one === row && !armed);
    if (armed) this.#clear(row, name, token);
  }

  async #clear(row, name, token) {
    const { kind, target } = row;
    const { status, answer } = await call("DELETE", `${PATH}?${new URLSearchParams({ kind, target })}`, token);
    // It may be gone by now, with whoever was logged in.
    if (this.#rows.get(name) !== row) return;
    // What is said now stays for as long as an answer does.
    this.#pace.wait();
    if (status !== 200 && status !== 404) {
      find("cleared").textContent = answer.error?.message ?? "The gateway did not answer.";
      return;
    }
    this.#next();
    find("cleared").textContent = status === 200 ? "Cleared: the next request tries it." : "It no longer cools down.";
    this.#remove(row, name);
  }

  // The focus goes to a neighbour, or to what is said.
  #remove(row, name) {
    const { item } = row;
    const neighbour = (item.nextElementSibling ?? item.previousElementSibling)?.querySelector("button");
    const focused = item.contains(document.activeElement);
    item.remove();
    this.#rows.delete(name);
    find("cooling").hidden = this.#rows.size === 0;
    if (focused) (neighbour ?? find("cleared")).focus();
  }
}

class Row {
  item = document.createElement("li");
  armed = false;
  #button = document.createElement("button");
  #cause = part("cause");
  #left = part("left");
  #state;
  #until = 0;

  constructor({ kind, target }, clicked) {
    this.kind = kind;
    this.target = target;
    this.#button.type = "button";
    this.#button.className = "way";
    this.#button.addEventListener("click", () => clicked(this));
    this.item.append(part("target", target), part("kind", kind), this.#cause, this.#left, this.#button);
    this.arm(false);
  }

  update({ cause, state, seconds_left: left }) {
    this.#cause.textContent = CAUSES[cause] ?? `answered ${cause}`;
    this.#state = state;
    // The gateway rounds up, so a countdown that agrees within a second goes on.
    if (Math.abs(this.#seconds() - left) >= 1) this.#until = performance.now() + 1000 * left;
    this.tick();
  }

  tick() {
    const seconds = Math.ceil(this.#seconds());
    const text = this.#state === "tried" ? "tried" : countdown(seconds);
    if (this.#left.textContent !== text) this.#left.textContent = text;
  }

  arm(armed) {
    this.armed = armed;
    const text = armed ? "Really clear?" : "Clear";
    this.#button.toggleAttribute("data-armed", armed);
    this.#button.textContent = text;
    this.#button.setAttribute("aria-label", `${text} ${this.kind} ${this.target}`);
  }

  #seconds() {
    return Math.max(0, (this.#until - performance.now()) / 1000);
  }
}

function countdown(seconds) {
  if (seconds === 0) return "due";
  return seconds < 120 ? `${seconds} s` : `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")} min`;
}

function part(name, text = "") {
  const element = document.createElement("span");
  element.className = name;
  element.textContent = text;
  return element;
}
