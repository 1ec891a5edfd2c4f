// Holds the page against what the client of the sessions was told, and against /metrics.

import assert from "node:assert/strict";
import { ADMIN, TOKEN, barriers, lanes, launch, line, open, state, text, tooWide, until } from "./browser.mjs";
import { counted, drive, refused, switches, told, turn } from "./sessions.mjs";

const SESSIONS = 50;
const number = new Intl.NumberFormat("en").format;

await drive(SESSIONS);
const browser = await launch();

async function check(name, run) {
  const start = Date.now();
  await run();
  console.log(`   ${name} (${Date.now() - start} ms)`);
}

const { page, faults, close } = await open(browser, { viewport: { width: 1280, height: 800 }, colorScheme: "light" });
const expected = () => [...told.values()];
const cells = () => page.locator("#lanes .cell").count();

await check("a wrong token is told as such", async () => {
  await page.goto(`${ADMIN}/ui`);
  await page.getByLabel("Admin token").fill("wrong");
  await page.getByRole("button", { name: "Show sessions" }).click();
  await until("the state", () => state(page), "refused");
  assert.match(await text(page, "#refused"), /does not know this token/);
  assert.equal(await page.locator("#view").isVisible(), false);
  assert.deepEqual(await barriers(page), []);
  // The browser itself reports the 401.
  assert.deepEqual(faults.splice(0).filter((fault) => !fault.includes("401")), []);
});

await check("a token in the fragment is used, and leaves the address bar", async () => {
  await page.goto(`${ADMIN}/ui#token=${TOKEN}`);
  await until("the state", () => state(page), "live");
  assert.equal(page.url(), `${ADMIN}/ui`);
  // A reload finds it in the tab.
  await page.reload();
  await until("the state", () => state(page), "live");
});

await check("50 sessions are 50 lanes, with the turns and marks that the client was told", async () => {
  await until("lanes", () => page.locator("#lanes .lane").count(), SESSIONS);
  const shown = await lanes(page);
  const plain = ({ turns, marks }) => JSON.stringify({ turns, marks });
  const wanted = expected().map((turns) => ({
    turns,
    marks: turns.flatMap((one, at) => (at > 0 && one.model !== turns[at - 1].model ? [at] : [])),
  }));
  assert.deepEqual(shown.map(plain).sort(), wanted.map(plain).sort());
  const marks = expected().reduce((sum, turns) => sum + switches(turns), 0);
  assert.equal(marks, SESSIONS / 10, "one session of ten was moved");
  assert.equal(shown.reduce((sum, lane) => sum + lane.allMarks, 0), marks);
  for (const lane of shown) {
    assert.deepEqual(lane.held, lane.turns.map(({ outcome }) => outcome === "hit"), "hollow is not pinned");
  }
});

const authorized = { headers: { authorization: `Bearer ${TOKEN}` } };
const ledger = async () => (await fetch(`${ADMIN}/admin/v1/ledger`, authorized)).json();
const dollars = new Intl.NumberFormat("en", { style: "currency", currency: "USD", maximumSignificantDigits: 3 }).format;

async function agrees() {
  const held = await counted("affinity_requests_total", /outcome="(hit|joined)"/);
  const all = await counted("affinity_requests_total");
  const saved = await counted("affinity_router_calls_saved_total");
  const calls = await counted("affinity_router_calls_total");
  const prompt = await counted("gateway_tokens_total", /kind="prompt"/);
  const cached = await counted("gateway_tokens_total", /kind="cached"/);
  assert.ok(prompt > 0, "the provider counts tokens");
  const moved = expected().filter((turns) => switches(turns) > 0).length;
  await until("calls saved", () => text(page, "#saved"), number(saved));
  await until("calls made", () => text(page, "#calls"), `${calls} made in ${all} turns`);
  await until("held", () => text(page, "#ratio"), `${Math.round((100 * held) / all)} %`);
  await until("turns", () => text(page, "#turns"), `${held} of ${all} turns`);
  await until("tokens", () => text(page, "#tokens"), `${number(cached)} of ${number(prompt)} tokens`);
  const { totals } = await ledger();
  for (const [name, share] of [["pinned", totals.pinned], ["unpinned", totals.unpinned]]) {
    const part = (100 * share.tokens.cached) / share.tokens.prompt;
    const told = part > 0 && part < 10 ? part.toFixed(1) : String(Math.round(part));
    await until(`cached, ${name}`, () => text(page, `#cached-${name}`), `${told} %`);
    const known = share.turns - share.turns_without.cost;
    const each = known ? dollars(Number(share.cost.spent) / known) : "unknown";
    await until(`spent, ${name}`, () => text(page, `#spent-${name}`), each);
  }
  await until("switches", () => text(page, "#switches"), String(SESSIONS / 10));
  await until("switched", () => text(page, "#switched"), `in ${moved} sessions shown`);
}

await check("the figures are those of /metrics", agrees);

await check("a turn changes its own lane only, without a reload", async () => {
  const before = await cells();
  await page.evaluate(() => {
    globalThis.changed = new Set();
    const note = ({ target }) => { if (target.matches(".strip")) globalThis.changed.add(target); };
    const observer = new MutationObserver((records) => records.forEach(note));
    observer.observe(document.getElementById("lanes"), { subtree: true, childList: true });
  });
  await turn("ui-3", 3);
  await until("cells", cells, before + 1);
  assert.equal(await page.evaluate(() => globalThis.changed.size), 1);
  await agrees();
});

await check("requests without a session share one lane, without marks", async () => {
  for (const kind of [0, 1, 0]) await turn(undefined, kind);
  await until("lanes", () => page.locator("#lanes .lane").count(), SESSIONS + 1);
  await until("cells", () => page.locator(".lane", { hasText: "no session" }).locator(".cell").count(), 3);
  assert.equal(await page.locator(".lane", { hasText: "no session" }).locator(".switch").count(), 0);
  assert.equal(await page.locator(".lane", { hasText: "no session" }).locator(".held").count(), 0);
});

await check("names that look like markup are text", async () => {
  const cell = page.locator('.cell[aria-label*="onerror"]').first();
  await cell.focus();
  // A focus that scrolls leaves the details where they are.
  await page.evaluate(() => document.dispatchEvent(new Event("scroll")));
  await until("details", () => page.locator("#details").isVisible(), true);
  const details = await text(page, "#details");
  assert.match(details, /<script>alert\(2\)<\/script>/);
  assert.match(details, /openai\/<img\/src=x\/onerror=alert\(1\)>/);
  assert.equal(await page.locator("main :is(img, script)").count(), 0);
});

await check("arrow keys move between turns and lanes", async () => {
  const focus = () => page.evaluate(() => document.activeElement.getAttribute("aria-label"));
  const lane = page.locator("#lanes .lane", { has: page.locator(".switch") }).first();
  await lane.locator(".cell").first().focus();
  const labels = await lane.locator(".cell").evaluateAll((all) => all.map((cell) => cell.ariaLabel));
  for (const [key, at] of [["ArrowRight", 1], ["ArrowRight", 2], ["ArrowLeft", 1], ["End", -1], ["Home", 0]]) {
    await page.keyboard.press(key);
    assert.equal(await focus(), labels.at(at), key);
  }
  assert.match(labels[2], /switched from /);
  await page.keyboard.press("ArrowDown");
  const next = lane.locator("xpath=following-sibling::*[1]").locator(".cell").first();
  assert.ok(await next.evaluate((cell) => cell === document.activeElement));
  await page.keyboard.press("Escape");
  assert.equal(await page.locator("#details").isVisible(), false);
  await page.evaluate(() => document.activeElement.blur());
});

await check("a session is moved and released, each with a second click", async () => {
  const names = async () => (await lanes(page)).map(({ name }) => name);
  const known = await names();
  await turn("steered", 1);
  await until("lanes", async () => (await names()).length, known.length + 1);
  const name = (await names()).find((one) => !known.includes(one));
  await page.getByRole("button", { name, exact: true }).click();
  await until("the pin", () => text(page, "#pin"), "Pinned to anthropic/claude-sonnet-4-20250514, for another 9 min.");
  assert.deepEqual(await barriers(page), []);

  await page.getByLabel("Move it to").selectOption("openai/gpt-4o");
  await page.getByRole("button", { name: "Move", exact: true }).click();
  await turn("steered", 1);
  assert.equal(told.get("steered").at(-1).model, "claude-sonnet-4-20250514", "one click is none");
  await page.getByRole("button", { name: "Really move?" }).click();
  await until("the end", () => text(page, "#done"), "Moved.");
  await turn("steered", 1);
  assert.deepEqual(told.get("steered").at(-1), { model: "gpt-4o", outcome: "hit" });

  await page.getByRole("button", { name: "Release" }).click();
  await page.getByRole("button", { name: "Really release?" }).click();
  await until("the end", () => text(page, "#done"), "Released.");
  await turn("steered", 1);
  assert.deepEqual(told.get("steered").at(-1), { model: "claude-sonnet-4-20250514", outcome: "claimed" });

  const steered = page.locator("#lanes .lane", { hasText: name }).locator(".cell");
  await until("its turns", () => steered.count(), told.get("steered").length);
  await page.keyboard.press("Escape");
  assert.equal(await page.locator("#session").isVisible(), false);
  await steered.last().focus();
  await page.keyboard.press("Enter");
  await until("the pin", () => text(page, "#pin"), "Pinned to anthropic/claude-sonnet-4-20250514, for another 9 min.");
  await page.getByRole("button", { name: "Close" }).click();
  await page.evaluate(() => document.activeElement.blur());
});

await check("a page that was cut off comes back with all turns", async () => {
  const before = await cells();
  line.cut();
  await until("the state", () => state(page), "waiting");
  await turn("ui-4", 4);
  line.mend();
  await until("the state", () => state(page), "live");
  await until("cells", cells, before + 1);
  // The browser itself reports what it could not reach.
  assert.deepEqual(faults.splice(0).filter((fault) => !fault.includes("Failed to load")), []);
});

await check("the filter keeps the lanes that match", async () => {
  const name = (await lanes(page))[4].name;
  await page.getByRole("searchbox", { name: "Filter" }).fill(name);
  assert.equal(await page.locator("#lanes .lane:visible").count(), 1);
  await page.getByRole("searchbox", { name: "Filter" }).fill("nothing has this name");
  assert.equal(await page.locator("#none").isVisible(), true);
  await page.getByRole("searchbox", { name: "Filter" }).fill("");
  assert.equal(await page.locator("#lanes .lane:visible").count(), SESSIONS + 2);
});

const cooling = () => page.locator("#cooldowns li").evaluateAll((all) => all.map((item) => {
  const [target, kind, cause, left] = [...item.children].map((part) => part.textContent);
  return { target, kind, cause, left };
}));
const ofLimited = () => page.locator("#cooldowns li", { hasText: "<b>limited</b>" });

await check("what cools down is listed, and its seconds are counted down", async () => {
  assert.equal(await page.locator("#cooling").isVisible(), false);
  let asked = 0;
  page.on("request", (request) => { if (request.url().endsWith("/admin/v1/cooldowns")) asked += 1; });
  const start = Date.now();
  assert.equal(await refused("openai/unpaid", 401, 2), 502);
  assert.equal(await refused("openai/<b>limited</b>", 429, 90), 429);
  const unpaid = { target: `key of openai/unpaid at ${process.env.REFUSING_URL}`, kind: "credential" };
  await until("rows", async () => (await cooling()).map(({ left, ...row }) => row), [
    { ...unpaid, cause: "answered 401" },
    { target: "openai/<b>limited</b>", kind: "model", cause: "answered 429" },
  ]);
  const seconds = async () => parseInt(await ofLimited().locator(".left").innerText(), 10);
  const first = await seconds();
  assert.ok(first > 70 && first <= 90, `${first} s`);
  await until("a second less", async () => (await seconds()) < first, true);
  const state = async () => (await cooling())[0].left;
  await until("the end of its time", state, "due");
  const trial = new AbortController();
  const tried = refused("openai/unpaid", "never", 0, trial.signal).catch(() => undefined);
  await until("the request that tries it", state, "tried");
  trial.abort();
  await tried;
  await until("its end", state, "due");
  assert.ok(asked <= 1 + (Date.now() - start) / 5000, `asked ${asked} times`);

  await page.evaluate(() => Object.defineProperty(document, "hidden", { value: true, configurable: true }));
  asked = 0;
  await new Promise((resolve) => { setTimeout(resolve, 6500); });
  assert.equal(asked, 0, "nobody looks");
  await page.evaluate(() => delete document.hidden);
  await until("a question", () => asked, 1);
});

await check("cost and cache are shown by route and by model, pinned turns apart", async () => {
  await page.locator("#worth summary").click();
  const { models } = await ledger();
  const used = models.filter(({ turns }) => turns > 0);
  const names = () => page.locator("#worth-rows [scope=rowgroup]").evaluateAll((all) => all.map((one) => one.textContent));
  await until("the models", async () => (await names()).filter((name) => name.endsWith(" model")).length, used.length);
  assert.equal((await names())[0].trim(), "all turns");
  const lines = page.locator("#worth-rows tbody").first().locator("tr");
  const turns = await lines.evaluateAll((all) => all.slice(1).map((row) => [row.cells[0].textContent, row.cells[1].textContent]));
  const { totals } = await ledger();
  assert.deepEqual(turns, [["pinned", number(totals.pinned.turns)], ["not pinned", number(totals.unpinned.turns)]]);
  assert.equal(await page.locator("#worth-rows :is(img, script)").count(), 0);
});

await check("pinned and observed sessions stand side by side while there are both", async () => {
  const { groups: [enforced, ...others] } = await ledger();
  assert.equal(enforced.group, "enforced");
  assert.equal(await page.locator("#groups").isVisible(), false, "none is observed");
  const observed = {
    ...enforced, group: "observed", turns: 40, switches: 30,
    tokens: { ...enforced.tokens, prompt: 2_000_000, cached: 500_000 },
    cost: { ...enforced.cost, spent: "3.2" }, turns_without: { ...enforced.turns_without, cost: 0 },
    observed: {
      ...enforced.observed, turns: 40, switches: 30, switches_with_pins: 2, priced: 40,
      cached: 500_000, cached_with_pins: 1_500_000, spent: "3.2", spent_with_pins: "1.1",
    },
  };
  const answer = async (groups) => {
    await page.unroute("**/admin/v1/ledger");
    await page.route("**/admin/v1/ledger", (route) => route.fulfill({ json: { totals: observed, models: [], routes: [], groups } }));
  };
  await answer([enforced, observed, ...others]);
  await until("the groups", () => page.locator("#groups").isVisible(), true);
  assert.equal(await text(page, "#group-switches-observed"), "75 %");
  assert.equal(await text(page, "#group-switches"), "30 of 40 observed turns; with pins 2");
  assert.equal(await text(page, "#group-cached-observed"), "25 %");
  assert.equal(await text(page, "#group-cached"), "500,000 tokens; with pins 1,500,000");
  assert.equal(await text(page, "#group-spent-observed"), "$0.08");
  assert.equal(await text(page, "#group-spent"), "$3.2 observed; with pins $1.1");
  for (const width of [400, 800, 1400]) {
    await page.setViewportSize({ width, height: 812 });
    assert.deepEqual(await tooWide(page), [], `${width} px`);
  }
  for (const colorScheme of ["dark", "light"]) {
    await page.emulateMedia({ colorScheme });
    assert.deepEqual(await barriers(page), [], colorScheme);
  }
  await page.setViewportSize({ width: 1280, height: 800 });
  await answer([enforced, ...others]);
  await until("no groups", () => page.locator("#groups").isVisible(), false);
  await page.unroute("**/admin/v1/ledger");
});

await check("a drained model is listed, and put back into use with a second click", async () => {
  const path = `${ADMIN}/admin/v1/models/openai/gpt-4o-mini/drain`;
  const to = JSON.stringify({ sessions: "move", to: "openai/gpt-4o" });
  const headers = { ...authorized.headers, "content-type": "application/json" };
  assert.equal((await fetch(path, { method: "POST", headers, body: to })).status, 200);
  const rows = () => page.locator("#drains li").evaluateAll((all) => all.map((item) =>
    [...item.children].slice(0, 2).map((part) => part.textContent)));
  await until("the row", rows, [["openai/gpt-4o-mini", "its sessions move to gpt-4o"]]);
  await page.getByRole("button", { name: "Use again openai/gpt-4o-mini" }).click();
  assert.equal((await rows()).length, 1, "one click is none");
  assert.deepEqual(await barriers(page), [], "armed");
  await page.getByRole("button", { name: "Really use? openai/gpt-4o-mini" }).click();
  await until("the list", () => page.locator("#draining").isVisible(), false);
  assert.match(await text(page, "#undrained"), /gets sessions again/);
  const { drains } = await (await fetch(`${ADMIN}/admin/v1/drains`, authorized)).json();
  assert.deepEqual(drains, []);
});

await check("light, dark and phone: nobody is kept out, and nothing is too wide", async () => {
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await ground();
  assert.deepEqual(await barriers(page), [], "light");
  await page.emulateMedia({ colorScheme: "dark" });
  assert.notEqual(await ground(), light);
  assert.deepEqual(await barriers(page), [], "dark");
  await page.setViewportSize({ width: 375, height: 812 });
  assert.equal((await cooling()).length, 2);
  // What is told of a turn leaves the turn in sight, wherever that is.
  for (const end of ["first", "last"]) {
    const cell = page.locator("#lanes .lane")[end]().locator(".cell").last();
    await cell.focus();
    await until("details", () => page.locator("#details").isVisible(), true);
    const covered = await cell.evaluate((one) => {
      const [cell, details] = [one, document.getElementById("details")].map((each) => each.getBoundingClientRect());
      return cell.bottom > details.top && cell.top < details.bottom;
    });
    assert.equal(covered, false, `the ${end} lane`);
  }
  await page.evaluate(() => document.activeElement.blur());
  assert.deepEqual(await tooWide(page), []);
  assert.deepEqual(await barriers(page), [], "phone");
  await page.setViewportSize({ width: 1280, height: 800 });
  assert.deepEqual(await tooWide(page), []);
});

await check("many targets with long names are cut short, and fit a phone", async () => {
  const target = `https://${"a-long-name".repeat(20)}`;
  const one = { kind: "credential", cause: "timeout", state: "cooling", seconds_left: 3599 };
  const cooldowns = Array.from({ length: 30 }, (_, number) => ({ ...one, target: `${target}-${number}` }));
  await page.route("**/admin/v1/cooldowns", (route) => route.fulfill({ json: { cooldowns } }));
  await until("the rows", async () => (await cooling()).length, 20);
  assert.equal(await text(page, "#cooling-more"), "and 10 more");
  assert.match((await cooling())[0].left, /^59:\d\d min$/);
  for (const width of [375, 700, 1000]) {
    await page.setViewportSize({ width, height: 812 });
    assert.deepEqual(await tooWide(page), [], `${width} px`);
    const parts = page.locator("#cooldowns li > *");
    const cut = await parts.evaluateAll((all) => all.filter((one) => one.scrollWidth > one.clientWidth + 1).length);
    assert.equal(cut, 0, `parts that overlap at ${width} px`);
  }
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.unroute("**/admin/v1/cooldowns");
  await until("the rows", async () => (await cooling()).length, 2);
});

await check("what cools down is cleared with a second click, by keyboard too", async () => {
  await page.getByRole("button", { name: "Clear model openai/<b>limited</b>" }).click();
  assert.equal((await cooling()).length, 2, "one click is none");
  assert.deepEqual(await barriers(page), [], "armed");
  await page.getByRole("button", { name: "Really clear? model openai/<b>limited</b>" }).click();
  await until("what is left", async () => (await cooling()).map(({ kind }) => kind), ["credential"]);
  assert.match(await text(page, "#cleared"), /^Cleared/);
  // The focus has gone to the neighbour.
  await page.keyboard.press("Enter");
  await page.keyboard.press("Enter");
  await until("the list", () => page.locator("#cooling").isVisible(), false);
  await until("the word of it", () => text(page, "#cleared"), "");
  const headers = { authorization: `Bearer ${TOKEN}` };
  const answer = await fetch(`${ADMIN}/admin/v1/cooldowns`, { headers });
  assert.deepEqual(await answer.json(), { cooldowns: [] });
});

await check("logging out forgets the token and the sessions", async () => {
  await page.getByRole("button", { name: "Log out" }).click();
  assert.equal(await page.locator("#lanes .lane").count(), 0);
  await page.reload();
  assert.equal(await page.locator("#login").isVisible(), true);
});

assert.deepEqual(faults, [], "no error, no dialog, no request to others");
await close();
await browser.close();
line.close();
