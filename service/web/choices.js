// What else the network finds likely: the word of a lexicon, and other readings.

import { element } from "./dom.js";
import { percent, shown } from "./words.js";

const MEANING = "The probability that the last stage gives it; not calibrated";

/** The lexicon's likeliest word and how likely it is none of them, or null. */
export function ofLexicon({ lexicon }) {
  if (!lexicon) return null;
  const { word, probability, none } = lexicon;
  return element(
    "p",
    { class: "lexicon", title: MEANING },
    "Of the lexicon ",
    element("strong", {}, word),
    ` ${percent(probability, 1)}\u00a0%, none of them ${percent(none, 1)}\u00a0%`,
  );
}

/** The likeliest readings, folded, or null. */
export function likeliest({ alternatives }) {
  if (!alternatives?.length) return null;
  const items = alternatives.map(({ text, probability }) =>
    element("li", {}, element("span", { class: "reading" }, shown(text)), ` ${percent(probability, 1)}\u00a0%`),
  );
  const list = element("ol", { title: MEANING }, ...items);
  return element("details", { class: "likeliest" }, element("summary", {}, "Likeliest readings"), list);
}
