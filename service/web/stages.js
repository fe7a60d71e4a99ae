// How vision, language and fusion moved a word, from iteration to iteration.

import { element } from "./dom.js";
import { percent, shown, smallWord } from "./words.js";

/** What the answer's last stage believes: text, confidence and characters. */
export function final({ iterations }) {
  const last = iterations[iterations.length - 1];
  return last.fused ?? last;
}

/** The history in a sentence. */
export function story({ iterations: [vision, ...refinements] }) {
  const said = ({ text, confidence }) => `${quoted(text)} (${percent(confidence, 1)}\u00a0%)`;
  if (!refinements.length) return `Vision alone read ${said(vision)}.`;
  let before = vision.text;
  const moves = [];
  for (const { iteration, fused } of refinements) {
    if (fused.text !== before) moves.push(`iteration ${iteration} made it ${said(fused)}`);
    before = fused.text;
  }
  const count = refinements.length === 1 ? "one iteration" : `${refinements.length} iterations`;
  if (!moves.length) return `Vision read it at once; ${count} kept it.`;
  return `Vision read ${said(vision)}; ${moves.join(", ")}.`;
}

/** A row for vision, then two for each iteration. */
export function stageTable({ iterations: [vision, ...refinements] }, name) {
  const head = ["Iteration", "Stage", "Word", "Probability"].map((text) => element("th", { scope: "col" }, text));
  const table = element(
    "table",
    { class: "stages" },
    element("caption", { class: "unseen" }, `What each stage read in ${name}`),
    element("colgroup", {}, ...head.map(() => element("col"))),
    element("thead", { class: "unseen" }, element("tr", {}, ...head)),
    element("tbody", {}, row("vision", vision, null, step("0", 1))),
  );
  let before = vision.text;
  for (const { iteration, language, fused } of refinements) {
    const first = row("language", language, before, step(iteration, 2));
    table.append(element("tbody", {}, first, row("fused", fused, before)));
    before = fused.text;
  }
  return table;
}

function step(iteration, rows) {
  return element("th", { scope: "rowgroup", rowSpan: rows, class: "step" }, String(iteration));
}

function row(stage, word, before, ...start) {
  return element(
    "tr",
    { class: stage },
    ...start,
    element("th", { scope: "row" }, stage),
    element("td", { class: "word" }, ...smallWord(word, before)),
    element("td", { class: "percent", title: "How likely the stage finds the whole word" }, `${percent(word.confidence)} %`),
  );
}

function quoted(text) {
  return text === "" ? shown(text) : `“${text}”`;
}
