// All readings in one piece, for other programs.

import { element } from "./dom.js";

const COLUMNS = ["path", "text", "confidence", "error", "note"];

/** A text a line, of the crops that were read. */
export function texts(cards) {
  return cards.filter((card) => card.answer).map((card) => `${card.text}\n`).join("");
}

/** A row for each crop, in the columns of `abinet read`. */
export function csv(cards) {
  const rows = cards.map(({ crop, text, answer, failure }) => [
    crop.name,
    text ?? "",
    answer?.confidence ?? "",
    failure ? [failure.title, failure.detail].filter(Boolean).join(": ") : "",
    answer?.note ?? "",
  ]);
  return [COLUMNS, ...rows].map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}

/** Each crop's name with its answer or the reason why there is none. */
export function json(cards) {
  const items = cards.map(({ crop, answer, failure }) => ({
    name: crop.name,
    ...(answer && { result: answer }),
    ...(failure && { error: { title: failure.title, detail: failure.detail } }),
  }));
  return `${JSON.stringify(items, null, 2)}\n`;
}

/** Hands the text to the browser as a file. */
export function download(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url));
}

// A spreadsheet would take the cell for a formula.
const FORMULA = /^[=+\-@\t\r]/;

function cell(value) {
  const text = String(value);
  const safe = typeof value === "string" && FORMULA.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
