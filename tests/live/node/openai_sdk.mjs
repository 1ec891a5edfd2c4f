// The OpenAI SDK: chat completions and responses, plain, streamed, and as a loop of tool calls.

import OpenAI from "openai";
import { expect, fail, gateway, holdsOneModel, key, maxTurns, passed, prompts, refuses, turn } from "./checks.mjs";

const client = new OpenAI({ baseURL: `${gateway}/v1`, apiKey: key, maxRetries: 0 });

const word = { type: "object", properties: { word: { type: "string" } }, required: ["word"] };

async function chat(headers) {
  const [turns, messages] = [[], []];
  for (const content of prompts) {
    messages.push({ role: "user", content });
    const asked = client.chat.completions.create({ model: "auto", messages }, { headers });
    const { data, response } = await asked.withResponse();
    expect("finish_reason", data.choices[0].finish_reason, "stop");
    messages.push(data.choices[0].message);
    turns.push(turn(response, data.model));
  }
  return turns;
}

async function chatStreamed(headers) {
  const [turns, messages] = [[], []];
  for (const content of prompts) {
    messages.push({ role: "user", content });
    const asked = client.chat.completions.create({ model: "auto", messages, stream: true }, { headers });
    const { data, response } = await asked.withResponse();
    const chunks = [];
    for await (const chunk of data) chunks.push(chunk);
    const text = chunks.map((chunk) => chunk.choices[0].delta.content ?? "").join("");
    expect("finish_reason", chunks.at(-1).choices[0].finish_reason, "stop");
    messages.push({ role: "assistant", content: text });
    turns.push(turn(response, chunks[0].model));
  }
  return turns;
}

async function chatTools(headers) {
  const tools = [{ type: "function", function: { name: "look_up", parameters: word } }];
  const [turns, messages] = [[], [{ role: "user", content: prompts[0] }]];
  while (turns.length < maxTurns) {
    const asked = client.chat.completions.create({ model: "auto", messages, tools }, { headers });
    const { data, response } = await asked.withResponse();
    turns.push(turn(response, data.model));
    const { message } = data.choices[0];
    if (!message.tool_calls) return turns;
    messages.push(message);
    for (const call of message.tool_calls) {
      messages.push({ role: "tool", tool_call_id: call.id, content: "found" });
    }
  }
  fail("the loop of tool calls did not end");
}

async function responses(headers) {
  const [turns, input] = [[], []];
  for (const content of prompts) {
    input.push({ role: "user", content });
    const asked = client.responses.create({ model: "auto", input }, { headers });
    const { data, response } = await asked.withResponse();
    expect("status", data.status, "completed");
    input.push(...data.output);
    turns.push(turn(response, data.model));
  }
  return turns;
}

async function responsesStreamed(headers) {
  const [turns, input] = [[], []];
  for (const content of prompts) {
    input.push({ role: "user", content });
    const asked = client.responses.create({ model: "auto", input, stream: true }, { headers });
    const { data, response } = await asked.withResponse();
    let last;
    for await (const event of data) last = event;
    expect("the last event", last.type, "response.completed");
    input.push(...last.response.output);
    turns.push(turn(response, last.response.model));
  }
  return turns;
}

async function responsesTools(headers) {
  const tools = [{ type: "function", name: "look_up", parameters: word, strict: false }];
  const [turns, input] = [[], [{ role: "user", content: prompts[0] }]];
  while (turns.length < maxTurns) {
    const asked = client.responses.create({ model: "auto", input, tools }, { headers });
    const { data, response } = await asked.withResponse();
    turns.push(turn(response, data.model));
    const calls = data.output.filter((item) => item.type === "function_call");
    if (calls.length === 0) return turns;
    input.push(...data.output);
    for (const { call_id } of calls) {
      input.push({ type: "function_call_output", call_id, output: "found" });
    }
  }
  fail("the loop of tool calls did not end");
}

async function errors() {
  const messages = [{ role: "user", content: "hello" }];
  const ask = (model, headers) => client.chat.completions.create({ model, messages }, { headers });
  const bad = { "x-model-affinity": "two,ids" };
  let refusal = await refuses("a bad session id", OpenAI.BadRequestError, () => ask("auto", bad));
  expect("the code of a bad session id", refusal.code, "invalid_session_id");
  refusal = await refuses("an unknown model", OpenAI.NotFoundError, () => ask("no-such-model", {}));
  expect("the code of an unknown model", refusal.code, "model_not_found");
  passed("OpenAI Node, errors: BadRequestError invalid_session_id, NotFoundError model_not_found");
}

await holdsOneModel("OpenAI Node, chat", chat);
await holdsOneModel("OpenAI Node, chat streamed", chatStreamed);
await holdsOneModel("OpenAI Node, chat tool loop", chatTools);
await holdsOneModel("OpenAI Node, responses", responses);
await holdsOneModel("OpenAI Node, responses streamed", responsesStreamed);
await holdsOneModel("OpenAI Node, responses tool loop", responsesTools);
await errors();
