// The OpenAI SDK: what no session decides.

import assert from "node:assert";
import OpenAI, { toFile } from "openai";
import { gateway, key, passed } from "./checks.mjs";

const client = new OpenAI({ baseURL: `${gateway}/v1`, apiKey: key, maxRetries: 0 });

for (const [model, account] of [["openai/gpt-4o", "one"], ["groq/llama-4", "two"]]) {
  const made = await client.responses.create({ model, input: "hello", background: true });
  assert.equal(made.output_text, account);
  assert.equal((await client.responses.retrieve(made.id)).id, made.id);
  assert.equal((await client.responses.cancel(made.id)).status, "cancelled");
  await client.responses.delete(made.id);
  await assert.rejects(client.responses.retrieve(made.id), { status: 404 });
}
passed("responses are retrieved, cancelled and deleted where they were made");

const data = Buffer.alloc(8 << 20, "x");
const file = await client.files.create({ file: await toFile(data, "a.txt"), purpose: "assistants" });
assert.ok(file.bytes >= data.length);
assert.equal(await (await client.files.content(file.id)).text(), "content");
assert.equal((await client.files.delete(file.id)).deleted, true);
passed("a file is uploaded, read and deleted at one provider");

const vector = await client.embeddings.create({ model: "groq/llama-4", input: "a", encoding_format: "float" });
assert.equal(vector.model, "llama-4");
const sound = await toFile(Buffer.from("RIFF"), "a.wav");
const { text } = await client.audio.transcriptions.create({ model: "whisper-1", file: sound });
assert.match(text, / bytes$/);
passed("embeddings and a transcription pass");
