// A client of the gateway, which remembers what it was told.

const URL = process.env.GATEWAY_URL;

// What the lexical router has a preference for, and what it has none for.
const PROMPTS = [
  "Compare the trade-offs of two queues",
  "Write a function that sorts a list",
  "Good morning",
  "Which flowers for a shady garden?",
];

// The turns of each session: the model, and how it was found.
export const told = new Map();

// One turn; `control` is the value of x-plano-affinity. Without a session it is not remembered.
export async function turn(session, kind, control) {
  const headers = { "content-type": "application/json" };
  if (session) headers["x-model-affinity"] = session;
  if (control) headers["x-plano-affinity"] = control;
  const body = { model: "auto", messages: [{ role: "user", content: PROMPTS[kind % PROMPTS.length] }] };
  const response = await fetch(`${URL}/v1/chat/completions`, { method: "POST", headers, body: JSON.stringify(body) });
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
  await response.arrayBuffer();
  if (!session) return;
  const model = decodeURIComponent(response.headers.get("x-plano-model"));
  const turns = told.get(session) ?? [];
  turns.push({ model: model.slice(model.indexOf("/") + 1), outcome: response.headers.get("x-plano-affinity") });
  told.set(session, turns);
}

// A request to a model that answers with `status` and is to be left alone for `seconds`; or, if the status is
// "never", one that waits until `signal` ends it.
export async function refused(model, status, seconds, signal) {
  const headers = { "content-type": "application/json" };
  const body = JSON.stringify({ model, messages: [{ role: "user", content: `${status} ${seconds}` }] });
  const response = await fetch(`${URL}/v1/chat/completions`, { method: "POST", headers, body, signal });
  await response.arrayBuffer();
  return response.status;
}

// `count` sessions at the same time, of 3 to 7 turns each. In every tenth the client asks for a new
// decision with another kind of prompt, so that its model changes.
export async function drive(count) {
  const sessions = Array.from({ length: count }, async (_, number) => {
    const name = `ui-${number}`;
    for (let at = 0; at < 3 + (number % 5); at += 1) {
      const moves = number % 10 === 7 && at === 2;
      await turn(name, moves ? number + 1 : number + at * 4, moves ? "refresh" : undefined);
    }
  });
  await Promise.all(sessions);
}

// How often a session was told another model than the turn before.
export function switches(turns) {
  return turns.filter((turn, at) => at > 0 && turn.model !== turns[at - 1].model).length;
}

// The sum of a counter over all series whose labels match.
export async function counted(name, labels = /.*/) {
  const response = await fetch(`${URL}/metrics`);
  const lines = (await response.text()).split("\n").filter((line) => line.startsWith(name));
  const series = lines.filter((line) => /^(\{| )/.test(line.slice(name.length)) && labels.test(line));
  return series.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
}
