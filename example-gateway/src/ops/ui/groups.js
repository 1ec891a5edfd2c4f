// The sessions whose pins hold beside those that are only observed, while there are both.

import { bar, money, number, percent, plural, text } from "./format.js";
import { ofATurn } from "./worth.js";

const NAMES = ["enforced", "observed"];

// The groups of the gateway's ledger.
export function showGroups(groups) {
  const both = NAMES.map((name) => groups.find(({ group }) => group === name));
  const shown = both.every((group) => group?.turns);
  document.getElementById("groups").hidden = !shown;
  if (!shown) return;
  const most = Math.max(...both.map((group) => ofATurn(group) ?? 0));
  for (const group of both) {
    const { group: name, turns, switches, tokens: { prompt, cached } } = group;
    const each = ofATurn(group);
    race(`group-switches-${name}`, percent(switches, turns), switches / turns);
    race(`group-cached-${name}`, percent(cached, prompt), prompt ? cached / prompt : 0);
    race(`group-spent-${name}`, each === undefined ? "unknown" : money(each), most ? (each ?? 0) / most : 0);
  }
  const { observed } = both[1];
  text("group-switches", `${number(observed.switches)} of ${plural(observed.turns, "observed turn")}; with pins ${number(observed.switches_with_pins)}`);
  text("group-cached", `${number(observed.cached)} tokens; with pins ${number(observed.cached_with_pins)}`);
  text("group-spent", observed.priced ? `${money(observed.spent)} observed; with pins ${money(observed.spent_with_pins)}` : "no price is known");
}

function race(id, value, share) {
  text(id, value);
  bar(`${id}-bar`, share);
}
