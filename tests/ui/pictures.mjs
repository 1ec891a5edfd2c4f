// Takes the pictures in the README: `tests/ui.sh docs/images`.

import { ADMIN, TOKEN, launch, line, state, until } from "./browser.mjs";

const PROMPTS = ["Compare the trade-offs of two queues", "Write functions for both", "Thank you, go on"];
const TENANTS = ["acme", "globex", "initech"];

// An agent's loop: each turn brings the whole conversation so far.
async function loop(number, turns, control) {
  const messages = [{ role: "system", content: "You are an agent. ".repeat(40) }];
  const headers = { "content-type": "application/json" };
  headers["x-model-affinity"] = `picture-${number}`;
  headers["x-tenant-id"] = TENANTS[number % TENANTS.length];
  for (let at = 0; at < turns; at += 1) {
    messages.push({ role: "user", content: PROMPTS[(number + at) % PROMPTS.length] });
    const sent = control?.(at);
    const body = JSON.stringify({ model: "auto", messages });
    const all = sent ? { ...headers, "x-plano-affinity": sent } : headers;
    const response = await fetch(`${process.env.GATEWAY_URL}/v1/chat/completions`, { method: "POST", headers: all, body });
    if (!response.ok) throw new Error(await response.text());
    messages.push((await response.json()).choices[0].message);
  }
}

for (let number = 0; number < 24; number += 1) {
  const beside = number === 21 ? () => "bypass" : undefined;
  const anew = number === 17 || number === 9 ? (at) => (at === 7 ? "refresh" : undefined) : undefined;
  await loop(number, 6 + ((number * 7) % 27), beside ?? anew);
}

const browser = await launch();
const desk = { viewport: { width: 1280, height: 800 } };
const phone = { viewport: { width: 375, height: 844 }, deviceScaleFactor: 2 };
const pictures = { light: desk, dark: { ...desk, colorScheme: "dark" }, phone };
for (const [name, options] of Object.entries(pictures)) {
  const page = await browser.newPage(options);
  await page.goto(`${ADMIN}/ui#token=${TOKEN}`);
  await until("the state", () => state(page), "live");
  if (name === "light") await page.locator("#lanes .lane:nth-child(3) .cell").nth(8).hover();
  await page.screenshot({ path: `${process.env.PICTURES}/page-${name}.png` });
  await page.close();
}
await browser.close();
line.close();
