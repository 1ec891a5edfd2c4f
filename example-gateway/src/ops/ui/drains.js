// Models that are drained: no session gets them any more. Each can be put back into use.

import { Pace, call } from "./call.js";
import { age, short } from "./format.js";

const find = (id) => document.getElementById(id);

export class Drains {
  #rows = new Map();
  #pace = new Pace();
  // An answer counts only if nothing was asked or ended since its question.
  #question = 0;

  // To be called about once a second.
  async ask(token) {
    if (!this.#pace.due()) return;
    const question = ++this.#question;
    const { status, answer } = await call("GET", "/admin/v1/drains", token);
    if (question !== this.#question || status !== 200) return;
    find("undrained").textContent = "";
    this.#show(answer.drains, token);
  }

  tick(now) {
    for (const row of this.#rows.values()) row.tick(now);
  }

  reset() {
    this.#question += 1;
    this.#pace.hurry();
    find("undrained").textContent = "";
    this.#show([]);
  }

  // Rows that stay are kept, so that neither the focus nor a first click is lost.
  #show(drains, token) {
    const shown = drains.map((drain) => {
      const row = this.#rows.get(drain.model) ?? new Row(drain.model, (row) => this.#clicked(row, token));
      row.update(drain);
      return [drain.model, row];
    });
    const gone = [...this.#rows.keys()].filter((model) => !shown.some(([name]) => name === model));
    for (const model of gone) this.#rows.get(model).item.remove();
    this.#rows = new Map(shown);
    for (const [, { item }] of shown) if (!item.isConnected) find("drains").append(item);
    find("draining").hidden = shown.length === 0;
  }

  #clicked(row, token) {
    const { armed } = row;
    for (const one of this.#rows.values()) one.arm(one === row && !armed);
    if (armed) this.#end(row, token);
  }

  async #end(row, token) {
    // The name of a model holds slashes, which stay as they are.
    const path = row.model.split("/").map(encodeURIComponent).join("/");
    const { status, answer } = await call("DELETE", `/admin/v1/models/${path}/drain`, token);
    if (this.#rows.get(row.model) !== row) return;
    this.#pace.wait();
    if (status !== 200 && status !== 404) {
      find("undrained").textContent = answer.error?.message ?? "The gateway did not answer.";
      return;
    }
    this.#question += 1;
    find("undrained").textContent = `${row.model} gets sessions again.`;
    const focused = row.item.contains(document.activeElement);
    row.item.remove();
    this.#rows.delete(row.model);
    find("draining").hidden = this.#rows.size === 0;
    if (focused) find("undrained").focus();
  }
}

class Row {
  item = document.createElement("li");
  armed = false;
  #button = document.createElement("button");
  #fate = part("cause");
  #age = part("left");
  #since = 0;

  constructor(model, clicked) {
    this.model = model;
    this.#button.type = "button";
    this.#button.className = "way";
    this.#button.addEventListener("click", () => clicked(this));
    this.item.append(part("target", model), this.#fate, this.#age, this.#button);
    this.arm(false);
  }

  update({ sessions, to, since }) {
    const target = to ? ` to ${short(to)}` : "";
    this.#fate.textContent = sessions === "move" ? `its sessions move${target}` : `no new sessions${target && `; they go${target}`}`;
    this.#since = 1000 * since;
  }

  tick(now) {
    const text = age(now - this.#since);
    if (this.#age.textContent !== text) this.#age.textContent = text;
  }

  arm(armed) {
    this.armed = armed;
    const text = armed ? "Really use?" : "Use again";
    this.#button.toggleAttribute("data-armed", armed);
    this.#button.textContent = text;
    this.#button.setAttribute("aria-label", `${text} ${this.model}`);
  }
}

function part(name, text = "") {
  const element = document.createElement("span");
  element.className = name;
  element.textContent = text;
  return element;
}
