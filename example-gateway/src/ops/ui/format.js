// Numbers and times as people read them, and where they stand on the page.

export const number = new Intl.NumberFormat("en").format;

// A share of a whole; unknown where there is no whole.
export function percent(part, whole) {
  if (!whole) return "–";
  const share = (100 * part) / whole;
  return `${share > 0 && share < 10 ? share.toFixed(1) : Math.round(share)} %`;
}

// A time in microseconds.
export function time(us) {
  if (us === undefined || us === null) return "–";
  const value = us / 1000;
  if (value >= 10_000) return `${(value / 1000).toFixed(1)} s`;
  if (value >= 100) return `${number(Math.round(value))} ms`;
  return `${value.toFixed(value >= 10 ? 1 : 2)} ms`;
}

// US dollars, exact ones as text.
const dollars = new Intl.NumberFormat("en", { style: "currency", currency: "USD", maximumSignificantDigits: 3 });

export function money(amount) {
  return amount === undefined ? "–" : dollars.format(amount);
}

export function age(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 2) return "now";
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h`;
}

// A model without its provider.
export function short(model) {
  return model.slice(model.indexOf("/") + 1);
}

export function plural(count, noun) {
  return `${number(count)} ${noun}${count === 1 ? "" : "s"}`;
}

// What an element says.
export function text(id, value) {
  const element = document.getElementById(id);
  if (element.textContent !== value) element.textContent = value;
}

// How far a bar is filled, from 0 to 1.
export function bar(id, share) {
  document.getElementById(id).style.width = `${Math.round(100 * share)}%`;
}
