// A colour and a letter for each model, so that no model is told by its colour alone.

import { short } from "./format.js";

// The CSS knows them by their number.
const COLOURS = 7;

export class Palette {
  #marks = new Map();

  // The configured models first, in the order of their names: reloading gives the same marks.
  constructor(models) {
    for (const model of [...models].sort()) this.mark(model);
  }

  models() {
    return [...this.#marks.keys()];
  }

  mark(model) {
    let mark = this.#marks.get(model);
    if (!mark) {
      mark = { colour: this.#marks.size % COLOURS, letter: this.#letter(short(model)) };
      this.#marks.set(model, mark);
    }
    return mark;
  }

  // The first letter of a word of the name that no other model has; then any letter or digit of it.
  #letter(name) {
    const taken = new Set([...this.#marks.values()].map((mark) => mark.letter));
    const words = name.split(/[^\p{L}\p{N}]+/u).filter(Boolean);
    const initials = words.map((word) => word[0]).filter((letter) => /\p{L}/u.test(letter));
    const letters = [...initials, ...words.join("")];
    const free = letters.map((letter) => letter.toUpperCase()).find((letter) => !taken.has(letter));
    return free ?? letters[0]?.toUpperCase() ?? "?";
  }
}
