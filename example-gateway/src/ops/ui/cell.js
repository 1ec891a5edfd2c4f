// One turn: its cell, and what is told of it. All text goes in as text, never as markup. The letter of
// a cell is drawn by the CSS: it is a mark, and the accessible name says more.

import { number, short, time } from "./format.js";

export function cell(turn, mark) {
  const element = document.createElement("span");
  element.className = "cell";
  element.classList.toggle("held", turn.pinned);
  element.classList.toggle("failed", failed(turn));
  element.dataset.colour = mark.colour;
  element.dataset.letter = mark.letter;
  element.tabIndex = -1;
  element.setAttribute("role", "gridcell");
  element.setAttribute("aria-label", label(turn));
  return element;
}

// Stands before the cell of a turn that another model served than the turn before.
export function switchMark() {
  const element = document.createElement("span");
  element.className = "switch";
  element.setAttribute("aria-hidden", "true");
  return element;
}

function failed(turn) {
  return !turn.complete || turn.status >= 400;
}

function label(turn) {
  const parts = [`Turn ${turn.number}`, short(turn.model), turn.outcome];
  if (turn.before) parts.push(`switched from ${short(turn.before)}`);
  if (failed(turn)) parts.push(ending(turn));
  return parts.join(", ");
}

function ending({ complete, status }) {
  if (status === null) return "the client was gone before an answer";
  return complete ? `status ${status}` : `status ${status}, broken off`;
}

const OUTCOMES = {
  hit: "the session had a pin",
  claimed: "routed, and the pin set",
  joined: "given the pin of a concurrent turn",
  none: "no session id",
  bypass: "routed beside the pin, as asked",
  refreshed: "decided anew",
  bound: "its model failed; only that provider has what it refers to",
  failed: "no candidate served",
  observed: "routed as without a session",
  repinned: "its model failed; the session moved",
  "store-unavailable": "the store failed",
  "router-unavailable": "the router failed",
};

// Fills `element` with all that is known of a turn.
export function describe(element, turn, mark) {
  const title = document.createElement("h3");
  const chip = document.createElement("span");
  chip.className = "cell held";
  chip.dataset.colour = mark.colour;
  chip.dataset.letter = mark.letter;
  title.append(chip, turn.model);
  const list = document.createElement("dl");
  const row = (name, value) => {
    const term = document.createElement("dt");
    const text = document.createElement("dd");
    term.textContent = name;
    text.textContent = value;
    list.append(term, text);
  };
  row("turn", `${number(turn.number)}, ${new Date(turn.at).toLocaleTimeString("en-GB")}`);
  row(turn.outcome, OUTCOMES[turn.outcome] ?? "");
  if (turn.before) row("switched from", turn.before);
  row("route", turn.route ?? "none matched");
  row("router", turn.router_us === null ? "not asked" : time(turn.router_us));
  row("first byte", time(turn.first_byte_us));
  row("whole answer", time(turn.total_us));
  row("end", ending(turn));
  row("tokens", tokens(turn));
  element.replaceChildren(title, list);
}

function tokens({ prompt_tokens: prompt, cached_tokens: cached, output_tokens: output }) {
  const parts = [];
  if (prompt !== null) parts.push(`${number(prompt)} prompt`);
  if (cached !== null) parts.push(`${number(cached)} of them cached`);
  if (output !== null) parts.push(`${number(output)} out`);
  return parts.join(", ") || "not reported";
}
