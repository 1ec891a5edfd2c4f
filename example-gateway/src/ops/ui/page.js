// Logging in, and what is shown when something happens.

import { describe } from "./cell.js";
import { Cooldowns } from "./cooldowns.js";
import { Drains } from "./drains.js";
import { follow } from "./feed.js";
import { Figures } from "./figures.js";
import { number, plural, short } from "./format.js";
import { showGroups } from "./groups.js";
import { Lanes } from "./lanes.js";
import { Palette } from "./palette.js";
import { Steer } from "./steer.js";
import { showUnnamed } from "./unnamed.js";
import { Worth } from "./worth.js";

const TOKEN = "affinity-admin-token";
const STATES = {
  connecting: "connecting",
  live: "live",
  waiting: "reconnecting",
  full: "too many readers, trying again",
  refused: "wrong token",
  out: "not connected",
};

const find = (id) => document.getElementById(id);
const figures = new Figures();
const cooldowns = new Cooldowns();
const drains = new Drains();
const worth = new Worth(({ groups }) => showGroups(groups));
const steer = new Steer();
const lanes = new Lanes(find("lanes"), showDetails, (lane) => steer.open(sessionStorage.getItem(TOKEN), lane, models));
let models = [];
let palette = new Palette([]);
// The gateway's clock, as far as it is ahead of ours.
let ahead = 0;
let totals;
let missed = 0;
let following = new AbortController();

function enter(token) {
  following.abort();
  following = new AbortController();
  sessionStorage.setItem(TOKEN, token);
  find("login").hidden = true;
  find("refused").textContent = "";
  find("leave").hidden = false;
  follow(token, { state, event }, following.signal);
}

function leave(reason = "") {
  following.abort();
  steer.close();
  cooldowns.reset();
  drains.reset();
  worth.reset();
  showGroups([]);
  sessionStorage.removeItem(TOKEN);
  lanes.reset([], palette);
  find("view").hidden = true;
  find("leave").hidden = true;
  find("login").hidden = false;
  find("refused").textContent = reason;
  find("token").value = "";
  find("token").focus();
}

function state(name) {
  find("state").dataset.state = name;
  find("state-text").textContent = STATES[name];
  if (name === "refused") leave("The gateway does not know this token.");
}

function event(name, data) {
  if (name === "snapshot") {
    restart(data);
  } else if (name === "turns") {
    for (const turn of data.turns) take(turn);
    ({ totals, missed } = data);
  } else {
    // `lost`: a snapshot comes next.
    return;
  }
  figures.show(totals, lanes.switched);
  showUnnamed(find("unnamed"), data.unnamed);
  count();
}

function restart(snapshot) {
  ahead = snapshot.now - Date.now();
  ({ models } = snapshot);
  palette = new Palette(models);
  ({ totals, missed } = snapshot);
  figures.reset();
  // Lanes come newest first, and each new one is put on top.
  const all = [...snapshot.lanes].reverse();
  lanes.reset(all, palette);
  const turns = all.flatMap((lane) => lane.turns).sort((one, other) => one.at - other.at);
  turns.forEach((turn) => figures.add(turn));
  showModels();
  lanes.tick(now());
  find("view").hidden = false;
}

function take(turn) {
  const known = palette.models().length;
  lanes.add(turn);
  figures.add(turn);
  if (palette.models().length !== known) showModels();
}

function count() {
  const { size, shown } = lanes;
  const active = lanes.active(now() - 60_000);
  find("sessions").textContent = shown === size
    ? `${plural(size, "lane")}, ${number(active)} active in the last minute`
    : `${number(shown)} of ${plural(size, "lane")}`;
  if (missed) find("sessions").textContent += `; ${plural(missed, "turn")} came too fast to be shown`;
  find("none").hidden = shown > 0;
  find("none").textContent = size ? "No lane matches the filter." : "No turns yet. They appear here as they end.";
}

function showModels() {
  find("models").replaceChildren(...palette.models().map((model) => {
    const { colour, letter } = palette.mark(model);
    const item = document.createElement("li");
    const button = document.createElement("button");
    const chip = document.createElement("span");
    chip.className = "cell held";
    chip.dataset.colour = colour;
    chip.dataset.letter = letter;
    chip.setAttribute("aria-hidden", "true");
    button.type = "button";
    button.title = `Filter: ${model}`;
    button.append(chip, short(model));
    button.addEventListener("click", () => filter(find("filter").value === model ? "" : model));
    item.append(button);
    return item;
  }));
}

function filter(text) {
  find("filter").value = text;
  lanes.filter(text);
  count();
}

// Details stand below the cell, or above it where there is no room; on a phone, at the far end of the screen.
function showDetails(turn, cell, mark) {
  const details = find("details");
  details.hidden = !turn;
  if (!turn) return;
  describe(details, turn, mark);
  const at = cell.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = details;
  const below = at.bottom + 8 + height < innerHeight;
  details.classList.toggle("far", at.top > innerHeight / 2);
  details.style.left = `${Math.max(8, Math.min(at.left - 16, innerWidth - width - 8))}px`;
  details.style.top = `${below ? at.bottom + 8 : Math.max(8, at.top - height - 8)}px`;
}

function now() {
  return Date.now() + ahead;
}

// `#token=` is out of the address bar, and out of the history, before anything else happens.
function tokenOfAddress() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (location.hash) history.replaceState(null, "", location.pathname);
  return token;
}

find("login").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  enter(find("token").value);
});
find("leave").addEventListener("click", () => { leave(); state("out"); });
find("filter").addEventListener("input", ({ target }) => filter(target.value));
document.addEventListener("scroll", () => find("details").hidden || lanes.follow(), { capture: true, passive: true });
addEventListener("hashchange", () => { const token = tokenOfAddress(); if (token) enter(token); });
setInterval(() => {
  if (totals) { lanes.tick(now()); count(); }
  cooldowns.tick();
  drains.tick(now());
  if (find("state").dataset.state !== "live") return;
  for (const part of [cooldowns, drains, worth]) part.ask(sessionStorage.getItem(TOKEN));
}, 1000);

const token = tokenOfAddress() ?? sessionStorage.getItem(TOKEN);
if (token) enter(token);
else leave();
