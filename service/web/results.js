// All readings in one piece, for other programs.

import { element } from "./dom.js";
import { rounded } from "./outlines.js";

/** The columns of `abinet read`, by their names; those after the first five are there if a crop has something for them. */
const COLUMNS = {
  path: ({ crop }) => crop.photo?.name ?? crop.name,
  text: ({ text }) => text,
  confidence: ({ answer }) => answer?.confidence,
  error: ({ failure }) => failure && [failure.title, failure.detail].filter(Boolean).join(": "),
  note: ({ answer }) => answer?.note,
  region: ({ crop }) => crop.number,
  points: ({ crop }) => crop.outline && JSON.stringify(rounded(crop.outline)),
  word: ({ answer }) => answer?.lexicon?.word,
  word_probability: ({ answer }) => answer?.lexicon?.probability,
  none_probability: ({ answer }) => answer?.lexicon?.none,
  alternatives: ({ answer }) => answer?.alternatives && JSON.stringify(answer.alternatives),
};
const ALWAYS = 5;

/** A text a line, of the crops that were read. */
export function texts(cards) {
  return cards.filter((card) => card.answer).map((card) => `${card.text}\n`).join("");
}

/** A row for each crop, in the columns of `abinet read`. */
export function csv(cards) {
  const columns = Object.entries(COLUMNS).map(([name, value]) => [name, ...cards.map((card) => value(card) ?? "")]);
  const kept = columns.filter(([, ...values], place) => place < ALWAYS || values.some((value) => value !== ""));
  const rows = ["", ...cards].map((_, row) => kept.map((column) => cell(column[row])).join(","));
  return rows.map((row) => `${row}\r\n`).join("");
}

/** Each crop's name with its answer or the reason why there is none. */
export function json(cards) {
  const items = cards.map(({ crop, answer, failure }) => ({
    name: crop.photo?.name ?? crop.name,
    ...(crop.photo && { region: crop.number, points: rounded(crop.outline) }),
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
