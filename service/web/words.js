// Letters coloured by confidence. Colour is never alone: a bar below each letter is as long as it is sure.

import { element, unseen } from "./dom.js";

const BANDS = [
  [0.95, "sure"],
  [0.8, "likely"],
  [0.6, "unsure"],
  [0.4, "weak"],
  [0, "guess"],
];
const DOUBTFUL = 0.95;

/** Which of the five bands a confidence is in. */
export function band(confidence) {
  return BANDS.find(([least]) => confidence >= least)[1];
}

/** Per cent; never 100 for what is not certain, and never 0: nothing is impossible, the service rounds. */
export function percent(confidence, digits = 0) {
  const least = 10 ** -digits;
  if (confidence >= 1) return "100";
  if (100 * confidence < least / 2) return `< ${least}`;
  return Math.min(100 * confidence, 100 - least).toFixed(digits);
}

/** The text, or what stands for none. */
export function shown(text) {
  return text === "" ? "no text" : text;
}

/** The final word, large, with every letter's per cent below it. */
export function largeWord({ text, characters }) {
  const tiles = characters.map(({ character, confidence }) =>
    letter(character, confidence, element("small", {}, percent(confidence))),
  );
  const seen = element("span", { class: "tiles", aria: { hidden: true } }, ...tiles);
  seen.style.setProperty("--count", characters.length);
  if (!text) seen.append(element("em", {}, shown(text)));
  return element("p", { class: "final" }, unseen(shown(text)), seen);
}

/** A word in a row of the table; letters that differ from `before`, place by place, are marked. */
export function smallWord({ text, characters }, before) {
  const letters = characters.map(({ character, confidence }, place) => {
    const made = letter(character, confidence);
    if (before !== null && before[place] !== character) made.classList.add("moved");
    return made;
  });
  const gone = [...(before ?? "")].slice(characters.length).map((character) =>
    element("span", { class: "letter moved gone", title: `${character} is gone` }, "·"),
  );
  const seen = element("span", { class: "letters", aria: { hidden: true } }, ...letters, ...gone);
  return [unseen(`${shown(text)}${doubts(characters)}`), seen];
}

function letter(character, confidence, ...below) {
  const made = element(
    "span",
    { class: "letter", dataset: { band: band(confidence) }, title: `${character}: ${percent(confidence, 1)} %` },
    character,
    ...below,
  );
  made.style.setProperty("--sure-part", confidence);
  return made;
}

function doubts(characters) {
  const doubtful = characters.filter(({ confidence }) => confidence < DOUBTFUL);
  const said = doubtful.map(({ character, confidence }) => `${character} ${percent(confidence)} %`);
  return said.length ? `; doubtful: ${said.join(", ")}` : "";
}
