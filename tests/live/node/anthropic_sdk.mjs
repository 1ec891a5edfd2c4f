// The Anthropic SDK: messages, plain, streamed, and as a loop of tool calls.

import Anthropic from "@anthropic-ai/sdk";
import { expect, fail, gateway, holdsOneModel, key, maxTurns, passed, prompts, refuses, turn } from "./checks.mjs";

const client = new Anthropic({ baseURL: gateway, apiKey: key, maxRetries: 0 });

const fixed = { model: "auto", max_tokens: 100 };
const word = { type: "object", properties: { word: { type: "string" } }, required: ["word"] };
const tools = [{ name: "look_up", description: "Looks up a word.", input_schema: word }];

async function messages(headers) {
  const [turns, history] = [[], []];
  for (const content of prompts) {
    history.push({ role: "user", content });
    const asked = client.messages.create({ ...fixed, messages: history }, { headers });
    const { data, response } = await asked.withResponse();
    expect("stop_reason", data.stop_reason, "end_turn");
    history.push({ role: "assistant", content: data.content });
    turns.push(turn(response, data.model));
  }
  return turns;
}

async function streamed(headers) {
  const [turns, history] = [[], []];
  for (const content of prompts) {
    history.push({ role: "user", content });
    const stream = client.messages.stream({ ...fixed, messages: history }, { headers });
    const { response } = await stream.withResponse();
    const answer = await stream.finalMessage();
    expect("stop_reason", answer.stop_reason, "end_turn");
    history.push({ role: "assistant", content: answer.content });
    turns.push(turn(response, answer.model));
  }
  return turns;
}

async function toolLoop(headers) {
  const [turns, history] = [[], [{ role: "user", content: prompts[0] }]];
  while (turns.length < maxTurns) {
    const asked = client.messages.create({ ...fixed, messages: history, tools }, { headers });
    const { data, response } = await asked.withResponse();
    turns.push(turn(response, data.model));
    if (data.stop_reason !== "tool_use") return turns;
    const calls = data.content.filter((block) => block.type === "tool_use");
    const results = calls.map(({ id }) => ({ type: "tool_result", tool_use_id: id, content: "found" }));
    history.push({ role: "assistant", content: data.content }, { role: "user", content: results });
  }
  fail("the loop of tool calls did not end");
}

async function errors() {
  const ask = (model, headers) =>
    client.messages.create({ ...fixed, model, messages: [{ role: "user", content: "hello" }] }, { headers });
  const bad = { "x-model-affinity": "two,ids" };
  let refusal = await refuses("a bad session id", Anthropic.BadRequestError, () => ask("auto", bad));
  expect("the error's type", refusal.error.error.type, "invalid_request_error");
  refusal = await refuses("an unknown model", Anthropic.NotFoundError, () => ask("no-such-model", {}));
  expect("the error's type", refusal.error.error.type, "not_found_error");
  passed("Anthropic Node, errors: BadRequestError, NotFoundError");
}

await holdsOneModel("Anthropic Node, messages", messages);
await holdsOneModel("Anthropic Node, messages streamed", streamed);
await holdsOneModel("Anthropic Node, tool loop", toolLoop);
await errors();
