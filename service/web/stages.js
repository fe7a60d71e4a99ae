// How vision, language and fusion moved a word, from iteration to iteration.

import { button, element } from "./dom.js";
import { percent, shown, smallWord } from "./words.js";

/** What the answer's last stage believes: text, confidence and characters. */
export function final({ iterations }) {
  const last = iterations[iterations.length - 1];
  return last.fused ?? last;
}

/** Whether an iteration made another text of it. */
export function isChanged({ iterations: [vision, ...refinements] }) {
  return refinements.some(({ fused }) => fused.text !== vision.text);
}

/**
 * The history: a sentence, and the stages. Iterations that kept the text stay folded, so that the language model's
 * guesses are seen if they mattered.
 */
export function history(answer, name) {
  const told = element("p", { class: "story" }, story(answer));
  if (answer.iterations.length === 1) return [told];
  const table = stageTable(answer, name);
  const folded = isChanged(answer) ? [...table.querySelectorAll(".kept")] : [table];
  if (!folded.length) return [told, table];
  const fold = (folding) => folded.forEach((part) => (part.hidden = folding));
  fold(true);
  const unfold = button("All iterations", (pressed) => {
    const open = pressed.ariaExpanded !== "true";
    pressed.ariaExpanded = open;
    fold(!open);
  });
  unfold.className = "unfold";
  unfold.ariaExpanded = false;
  return [element("div", { class: "told" }, told, unfold), table];
}

/** The history in a sentence. */
function story({ iterations: [vision, ...refinements] }) {
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
function stageTable({ iterations: [vision, ...refinements] }, name) {
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
    const kept = fused.text === before ? "kept" : "";
    table.append(element("tbody", { class: kept }, first, row("fused", fused, before)));
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
