// The figures at the top.

import { bar, money, number, percent, plural, text, time } from "./format.js";
import { ofATurn } from "./worth.js";

// Turns that medians are made of.
const RECENT = 1000;

export class Figures {
  #pinned = [];
  #routed = [];

  reset() {
    this.#pinned = [];
    this.#routed = [];
  }

  // Counts a turn for the medians.
  add(turn) {
    const asked = turn.router_us !== null;
    if (turn.first_byte_us === null || turn.status >= 400 || (!asked && !turn.pinned)) return;
    const times = asked ? this.#routed : this.#pinned;
    times.push(turn.first_byte_us);
    if (times.length > RECENT) times.shift();
  }

  // Sums of the gateway's ledger, and how many of the sessions shown have switched.
  show(totals, switched) {
    const { turns, pinned_turns: pinned, switches, router, tokens, turns_without: unknown, regret } = totals;
    text("saved", number(router.calls_saved));
    text("calls", `${number(router.calls)} made in ${plural(turns, "turn")}`);
    text("time-saved", router.time_saved_us ? `≈ ${time(router.time_saved_us)} of waiting` : "");
    text("ratio", percent(pinned, turns));
    bar("ratio-bar", turns ? pinned / turns : 0);
    text("turns", `${number(pinned)} of ${plural(turns, "turn")}`);
    text("switches", number(switches));
    text("switched", switches ? `in ${plural(switched, "session")} shown` : "no session changed its model");
    text("tokens", unknown.prompt < turns ? `${number(tokens.cached)} of ${number(tokens.prompt)} tokens` : "no usage was reported");
    this.#shares(totals);
    this.#medians();
    this.#regret(regret);
  }

  // What pinned turns had from the cache and cost, beside all others.
  #shares({ pinned, unpinned, cost, turns, turns_without: unknown }) {
    const most = Math.max(ofATurn(pinned) ?? 0, ofATurn(unpinned) ?? 0);
    for (const [name, share] of [["pinned", pinned], ["unpinned", unpinned]]) {
      const { prompt, cached } = share.tokens;
      const each = ofATurn(share);
      text(`cached-${name}`, percent(cached, prompt));
      bar(`cached-${name}-bar`, prompt ? cached / prompt : 0);
      text(`spent-${name}`, share.turns && each === undefined ? "unknown" : money(each));
      bar(`spent-${name}-bar`, most ? (each ?? 0) / most : 0);
    }
    const known = turns > unknown.cost;
    const told = known ? `${money(cost.spent)} in all, ${money(cost.saved_by_cache)} saved by the cache` : "no price is known";
    text("spent", known && unknown.cost ? `${told}; ${plural(unknown.cost, "turn")} unknown` : told);
  }

  // Pinned turns that were routed once more, to see what the router would have done.
  #regret({ agreed, otherwise, no_match: none }) {
    const judged = agreed + otherwise + none;
    document.getElementById("regret-card").hidden = judged === 0;
    text("regret", percent(otherwise, judged));
    text("judged", `${number(otherwise)} of ${plural(judged, "pinned turn")} asked again`);
  }

  #medians() {
    const pinned = median(this.#pinned);
    const routed = median(this.#routed);
    const longest = Math.max(pinned ?? 0, routed ?? 0);
    text("pinned-median", time(pinned));
    text("routed-median", time(routed));
    bar("pinned-bar", longest ? (pinned ?? 0) / longest : 0);
    bar("routed-bar", longest ? (routed ?? 0) / longest : 0);
    text("medians", `of the last ${number(this.#pinned.length)} and ${number(this.#routed.length)} turns`);
  }
}

function median(values) {
  if (!values.length) return undefined;
  const sorted = Float64Array.from(values).sort();
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
