// What the gateway tells, as long as the page is open. An EventSource could not send the token in a
// header, so the stream is read by hand.

const PATH = "/admin/v1/events";
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 15_000;
// The gateway says something every 15 seconds.
const SILENCE = 40_000;

// Calls `on.event(name, data)` for each event and `on.state(state)` for each change, until `signal` is
// aborted or the token is refused. States: connecting, live, waiting, full, refused.
export async function follow(token, on, signal) {
  // Such a token fits into no header.
  if (/[^\x20-\x7e]/.test(token)) return on.state("refused");
  let pause = FIRST_PAUSE;
  while (!signal.aborted) {
    on.state("connecting");
    const ended = await once(token, (name, data) => {
      pause = FIRST_PAUSE;
      on.state("live");
      on.event(name, data);
    }, signal);
    if (signal.aborted) return;
    on.state(ended);
    if (ended === "refused") return;
    // Pages that were cut off together do not come back together.
    await sleep(pause * (0.5 + Math.random() / 2), signal);
    pause = Math.min(2 * pause, LONGEST_PAUSE);
  }
}

// One connection to its end, and how it ended.
async function once(token, event, signal) {
  const silent = new AbortController();
  const either = AbortSignal.any([signal, silent.signal]);
  let watch = setTimeout(() => silent.abort(), SILENCE);
  const parser = new Parser(event);
  let read;
  // What fails is the connection; a mistake in what is done with an event is not hidden here.
  const next = (promise) => promise.catch(() => undefined);
  try {
    const headers = { authorization: `Bearer ${token}` };
    const response = await next(fetch(PATH, { headers, cache: "no-store", signal: either }));
    if (response?.status === 401) return "refused";
    if (response?.status === 503) return "full";
    if (!response?.ok) return "waiting";
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    while ((read = await next(reader.read())) && !read.done) {
      clearTimeout(watch);
      watch = setTimeout(() => silent.abort(), SILENCE);
      parser.push(read.value);
    }
    return "waiting";
  } finally {
    clearTimeout(watch);
    silent.abort();
  }
}

// Server-sent events in pieces of any size, as this gateway writes them: one line of data each.
class Parser {
  #rest = "";
  #event;

  constructor(event) {
    this.#event = event;
  }

  push(text) {
    const blocks = (this.#rest + text).split("\n\n");
    this.#rest = blocks.pop();
    for (const block of blocks) {
      const fields = new Map();
      for (const line of block.split("\n")) {
        const colon = line.indexOf(": ");
        if (colon > 0) fields.set(line.slice(0, colon), line.slice(colon + 2));
      }
      if (fields.has("data")) this.#event(fields.get("event"), JSON.parse(fields.get("data")));
    }
  }
}

function sleep(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}
