// The page in a real browser, and what is asked of it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";
import { lineTo } from "./line.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
  "--disable-sync", "--no-first-run",
];

export const line = await lineTo(process.env.ADMIN_URL);
export const ADMIN = line.url;
export const TOKEN = process.env.ADMIN_TOKEN;

export const launch = () => chromium.launch({ executablePath: process.env.CHROMIUM, args: FLAGS });

// A page that notes what it should not do: errors, dialogs, requests to others.
export async function open(browser, options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const faults = [];
  page.on("pageerror", (error) => faults.push(`error: ${error}`));
  page.on("dialog", (dialog) => { faults.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on("console", (line) => { if (line.type() === "error") faults.push(`console: ${line.text()}`); });
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== ADMIN) faults.push(`request: ${request.url()}`);
    if (request.url().includes(TOKEN)) faults.push("the token is in a URL");
  });
  return { page, faults, close: () => context.close() };
}

// Waits until `read` gives `expected`.
export async function until(what, read, expected) {
  const end = Date.now() + 15_000;
  let got;
  do {
    got = await read();
    if (JSON.stringify(got) === JSON.stringify(expected)) return;
    await new Promise((resolve) => { setTimeout(resolve, 50); });
  } while (Date.now() < end);
  assert.deepEqual(got, expected, what);
}

export const text = (page, selector) => page.locator(selector).innerText();
export const state = (page) => page.locator("#state").getAttribute("data-state");

// Each lane as the page shows it: its turns, and the turns before which a mark stands.
export const lanes = (page) => page.evaluate(() =>
  [...document.querySelectorAll("#lanes .lane")].map((lane) => {
    const cells = [...lane.querySelectorAll(".cell")];
    return {
      name: lane.querySelector(".name").textContent,
      turns: cells.map((cell) => {
        const [, model, outcome] = cell.getAttribute("aria-label").split(", ");
        return { model, outcome };
      }),
      held: cells.map((cell) => cell.classList.contains("held")),
      marks: cells.flatMap((cell, at) => (cell.previousElementSibling?.matches(".switch") ? [at] : [])),
      allMarks: lane.querySelectorAll(".switch").length,
    };
  }));

// What axe finds that keeps people out.
export async function barriers(page) {
  // Not through a script element, which the policy of the page forbids.
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  return violations.filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id}: ${nodes[0].html}`);
}

// What reaches beyond the window, the inside of what scrolls by itself apart.
export const tooWide = (page) => page.evaluate(() => {
  const visible = [...document.querySelectorAll("body *")].filter((element) => element.checkVisibility());
  const fixed = visible.filter((element) => !element.parentElement.closest(".scroller"));
  return fixed.filter((element) => element.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
    .map((element) => element.className);
});
