// One session: its pin, and the ways to move and to release it.

import { age, short } from "./format.js";

const find = (id) => document.getElementById(id);

export class Steer {
  #token;
  #session;

  constructor() {
    find("move").addEventListener("click", () => {
      const model = find("move-to").value;
      this.#confirmed(find("move"), "Really move?", () => this.#ask("PATCH", { model }));
    });
    find("release").addEventListener("click", () =>
      this.#confirmed(find("release"), "Really release?", () => this.#ask("DELETE")));
    find("close").addEventListener("click", () => find("session").close());
    find("move-to").addEventListener("change", () => this.#disarm());
  }

  // Shows a session; `models` are those that it can be moved to.
  open(token, lane, models) {
    this.#token = token;
    this.#session = lane.session;
    find("session-name").textContent = lane.session;
    find("move-to").replaceChildren(...models.map((model) => new Option(short(model), model)));
    find("pin").textContent = "";
    find("done").textContent = "";
    this.#disarm();
    find("session").showModal();
    this.#ask("GET");
  }

  close() {
    find("session").close();
  }

  // What cannot be taken back needs a second click.
  #confirmed(button, question, act) {
    if (button.dataset.armed) {
      this.#disarm();
      act();
    } else {
      this.#disarm();
      button.dataset.armed = "yes";
      button.textContent = question;
    }
  }

  #disarm() {
    for (const [id, text] of [["move", "Move"], ["release", "Release"]]) {
      delete find(id).dataset.armed;
      find(id).textContent = text;
    }
  }

  async #ask(method, body) {
    const session = this.#session;
    let answer = {};
    let status = 0;
    try {
      const headers = { authorization: `Bearer ${this.#token}`, "content-type": "application/json" };
      const response = await fetch(`/admin/v1/lanes/${session}`, {
        method, headers, body: body && JSON.stringify(body), cache: "no-store",
      });
      status = response.status;
      answer = await response.json();
    } catch {
      // Told below, as a status that there is not.
    }
    if (session === this.#session) this.#tell(method, status, answer);
  }

  #tell(method, status, answer) {
    if (status === 404) {
      this.#pin(null);
    } else if (status !== 200) {
      find("done").textContent = answer.error?.message ?? "The gateway did not answer.";
    } else if (method === "DELETE") {
      this.#pin(null);
      find("done").textContent = "Released.";
    } else if (method === "PATCH") {
      this.#pin(answer.pin);
      find("done").textContent = answer.moved ? "Moved." : "It is there already.";
    } else {
      this.#pin(answer);
    }
  }

  #pin(pin) {
    const ends = pin?.expires_in_seconds;
    find("pin").textContent = pin
      ? `Pinned to ${pin.model}${ends ? `, for another ${age(1000 * ends)}` : ""}.`
      : "No pin stands: the next turn is routed.";
    find("move").disabled = !pin;
    find("release").disabled = !pin;
    if (pin) find("move-to").value = pin.model;
  }
}
