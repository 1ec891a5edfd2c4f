// What turns cost and had from the cache, pinned turns apart from others, by route and by model.

import { Pace, call } from "./call.js";
import { money, number, percent, short } from "./format.js";

// There may be as many routes as clients have made up names.
const ROWS = 20;

const find = (id) => document.getElementById(id);

export class Worth {
  #pace = new Pace();
  #told;

  // `told` gets each ledger that was asked for.
  constructor(told) {
    this.#told = told;
    find("worth").addEventListener("toggle", () => this.#pace.hurry());
  }

  // To be called about once a second.
  async ask(token) {
    if (!this.#pace.due()) return;
    const { status, answer } = await call("GET", "/admin/v1/ledger", token);
    if (status !== 200) return;
    this.#told(answer);
    if (find("worth").open) this.#show(answer);
  }

  reset() {
    this.#pace.hurry();
    find("worth-rows").querySelectorAll("tbody").forEach((body) => body.remove());
  }

  #show({ totals, routes, models }) {
    const used = (rows) => rows.filter(({ turns }) => turns > 0).sort((one, other) => other.turns - one.turns).slice(0, ROWS);
    this.reset();
    this.#pace.wait();
    find("worth-rows").append(
      group("all turns", "", totals),
      ...used(routes).map((row) => group(row.route ?? "no route", "route", row)),
      ...used(models).map((row) => group(short(row.model), "model", row)),
    );
  }
}

// The cost of a turn, over those whose cost is known; unknown without any.
export function ofATurn({ turns, cost, turns_without: without }) {
  const known = turns - without.cost;
  return known > 0 ? Number(cost.spent) / known : undefined;
}

function group(name, kind, { pinned, unpinned }) {
  const body = document.createElement("tbody");
  const title = document.createElement("th");
  title.scope = "rowgroup";
  title.colSpan = 5;
  title.append(name, " ", part("span", "kind", kind));
  const row = document.createElement("tr");
  row.append(title);
  body.append(row);
  if (pinned.turns) body.append(line("pinned", pinned));
  if (unpinned.turns) body.append(line("not pinned", unpinned));
  return body;
}

function line(name, share) {
  const row = document.createElement("tr");
  const title = part("th", "", name);
  title.scope = "row";
  const { prompt, cached } = share.tokens;
  const bar = part("span", name === "pinned" ? "track" : "track routed", "");
  bar.setAttribute("aria-hidden", "true");
  const filled = document.createElement("i");
  filled.style.width = `${prompt ? Math.round((100 * cached) / prompt) : 0}%`;
  bar.append(filled);
  const both = part("div", "share", "");
  both.append(bar, part("span", "", percent(cached, prompt)));
  const cell = document.createElement("td");
  cell.append(both);
  const each = ofATurn(share);
  const spent = each === undefined ? "unknown" : money(share.cost.spent);
  row.append(title, part("td", "", number(share.turns)), cell, part("td", "", spent), part("td", "", money(each)));
  return row;
}

function part(kind, name, text) {
  const element = document.createElement(kind);
  if (name) element.className = name;
  element.textContent = text;
  return element;
}
