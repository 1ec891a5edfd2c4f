// One question to the admin API.

// The longest that an answer may take.
const PATIENCE = 5000;

// The status is 0 if there is no answer.
export async function call(method, path, token) {
  try {
    const headers = { authorization: `Bearer ${token}` };
    const response = await fetch(path, { method, headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    return { status: response.status, answer: await response.json() };
  } catch {
    return { status: 0, answer: {} };
  }
}

// What is asked again and again: at most every five seconds, and only while somebody looks.
export class Pace {
  #asked = -PATIENCE;

  due() {
    const now = performance.now();
    if (document.hidden || now - this.#asked < PATIENCE) return false;
    this.#asked = now;
    return true;
  }

  // The next question comes a whole pause from now, or at once.
  wait() { this.#asked = performance.now(); }
  hurry() { this.#asked = -PATIENCE; }
}
