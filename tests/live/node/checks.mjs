// What the programs share: answers as the gateway describes them, and what must hold of them.

import { randomUUID } from "node:crypto";

export const gateway = process.env.GATEWAY_URL;

// Nobody asks for it; the SDKs want one.
export const key = "unused";

// A conversation that a router would send to different models.
export const prompts = [
  "Write a function that sorts a list",
  "Compare the trade-offs of that with a heap",
  "Thank you",
];

// The longest loop of an agent.
export const maxTurns = 10;

/** One answer: the model that gave it, and whether a pin chose that model. */
export function turn(response, answered) {
  const model = response.headers.get("x-plano-model");
  expect("the model in the body", answered, model.split("/").at(-1));
  return { model, pinned: response.headers.get("x-plano-pinned") === "true" };
}

/** Runs a task without a session and with one; only the second may hold one model. */
export async function holdsOneModel(name, run) {
  const free = await run({});
  const changes = free.filter((turn, at) => at > 0 && turn.model !== free[at - 1].model).length;
  if (changes === 0) fail(`${name}: the model did not change without a session: ${shown(free)}`);
  const kept = await run({ "x-model-affinity": randomUUID() });
  if (kept.some((turn) => turn.model !== kept[0].model)) fail(`${name}: not one model: ${shown(kept)}`);
  expect(`${name}: pinned`, shown(kept.map((turn) => turn.pinned)), shown(kept.map((_, at) => at > 0)));
  const times = `${changes} change${changes === 1 ? "" : "s"}`;
  passed(`${name}: ${kept[0].model} for all ${kept.length} turns; ${times} without a session`);
}

/** The error with which a call must end. */
export async function refuses(name, kind, call) {
  try {
    await call();
  } catch (error) {
    if (error instanceof kind) return error;
    throw error;
  }
  fail(`${name}: no ${kind.name}`);
}

export function expect(name, found, wanted) {
  if (found !== wanted) fail(`${name}: ${found} where ${wanted} should be`);
}

export function passed(text) {
  console.log(`ok      ${text}`);
}

export function fail(text) {
  console.log(`FAILED  ${text}`);
  process.exit(1);
}

function shown(value) {
  return JSON.stringify(value);
}
