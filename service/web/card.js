// One crop on the page: its picture, and what became of it.

import { likeliest, ofLexicon } from "./choices.js";
import { copying, curlCommand } from "./copy.js";
import { button, element, unseen } from "./dom.js";
import { hint, isPhoto, mayHoldSeveral } from "./hints.js";
import { notice } from "./notice.js";
import { sizeOf } from "./outlines.js";
import { thumbnail, turnedRight } from "./picture.js";
import { final, history, isChanged } from "./stages.js";
import { largeWord, percent } from "./words.js";

// Letters beyond which a word has the whole width of its card, without each letter's per cent.
const LONG = 10;
// A lexicon of more makes no command that anybody wants to paste.
const WORDS_OF_A_COMMAND = 100;
const TURNED = { 90: "turned right", 180: "turned upside down", 270: "turned left" };
let made = 0;

/**
 * A crop is a `blob` and its `name`, and `sample`, a path, where it is one of the service's own. A marked word of a photo
 * has the photo's `blob`, its `outline`, its `number` from 0, a `preview`, as `photo` the crop that the photo is, and as
 * `mark` the outline that is marked there.
 */
export class Card {
  /** Called with the card: `again` when it is to be read again, `gone` when it is to go, `mark` when its words are to be marked. */
  constructor(crop, { again, gone, mark }) {
    this.crop = crop;
    this.number = ++made;
    this.failure = this.answer = null;
    this.removed = false;
    this._original = crop.blob;
    this._quarters = 0;
    this._again = again;
    this._mark = mark;
    this._facts = element("p", { class: "facts" });
    this._hint = element("p", { class: "hint", hidden: true });
    this._body = element("div", { class: "body" });
    const title = element("h3", { id: `crop-${this.number}`, title: crop.name }, crop.name);
    const remove = button("×", () => gone(this), { class: "remove", title: "Remove", aria: { label: `Remove ${crop.name}` } });
    this._head = element("div", { class: "head" }, element("div", {}, title, this._facts), remove);
    const named = { class: "card", tabIndex: -1, aria: { labelledby: title.id } };
    this.element = element("article", named, this._head, this._body);
    this._showPicture();
    this.wait("In line");
  }

  get state() {
    return this.element.dataset.state;
  }

  get text() {
    return this.answer && final(this.answer).text;
  }

  /** Whether an iteration changed the text. */
  get changed() {
    return this.answer !== null && isChanged(this.answer);
  }

  /** Shows why there is no answer yet. */
  wait(text) {
    this._show("waiting", element("p", { class: "pending" }, text));
  }

  /** Shows the answer to a request with these options. */
  done(answer, options) {
    this._show(
      "read",
      element("div", { class: isLong(answer) ? "verdict long" : "verdict" }, largeWord(final(answer)), confidence(answer)),
      ofLexicon(answer),
      likeliest(answer),
      this._hint,
      ...history(answer, this.crop.name),
      this._actions(
        copying("Copy text", () => this.text),
        copying("Copy JSON", () => JSON.stringify(answer, null, 2)),
        this._quarters || options.lexicon?.length > WORDS_OF_A_COMMAND ? null : copying("Copy curl", () => curlCommand(this.crop, options)),
      ),
    );
    this.answer = answer;
    this._options = options;
    this._showFacts();
  }

  fail(failure) {
    this._show(
      "failed",
      element("p", { class: "problem" }, failure.title),
      element("p", {}, [failure.detail, failure.hint].filter(Boolean).join(" ")),
      failure.final ? null : this._actions(button("Try again", () => this._again(this))),
    );
    this.failure = failure;
  }

  remove() {
    this.removed = true;
    URL.revokeObjectURL(this._url);
    this.element.remove();
  }

  _show(state, ...content) {
    this.failure = this.answer = null;
    this.element.dataset.state = state;
    this.element.setAttribute("aria-busy", String(state === "waiting"));
    const hasFocus = this._body.contains(document.activeElement);
    this._body.replaceChildren(...content.filter((part) => part !== null));
    this._showFacts();
    // The button that was pressed is gone: whoever works from the keyboard stays at the crop.
    if (hasFocus) this.element.focus();
  }

  _showFacts() {
    const size = this._size && `${this._size.width} × ${this._size.height}`;
    this._facts.textContent = [size, ...this._factsOfAnswer()].filter(Boolean).join(" · ");
    const text = this.answer ? hint(this._size, this.answer) : "";
    this._hint.textContent = text;
    this._hint.hidden = !text;
  }

  _factsOfAnswer() {
    if (!this.answer) return [];
    const { turned, timings_ms: { total }, stopped_at: stopped } = this.answer;
    const took = `${total.toFixed(total < 10 ? 1 : 0)}\u00a0ms`;
    const early = stopped < Number(this._options.iterations);
    return [TURNED[turned], took, early && `stopped early, after ${stopped ? `iteration\u00a0${stopped}` : "vision"}`];
  }

  _showPicture() {
    if (this._url) URL.revokeObjectURL(this._url);
    const { blob, name, preview, outline } = this.crop;
    this._url = URL.createObjectURL(preview ?? blob);
    const loaded = (size) => {
      this._size = size && (outline ? sizeOf(outline) : size);
      this._showFacts();
      this._offerMarking();
    };
    this._head.querySelector(".picture")?.remove();
    this._head.prepend(thumbnail(name, this._url, loaded, () => this._enlarged()));
  }

  /** What is shown if the picture is enlarged: of a marked word the whole photo. */
  _enlarged() {
    const { blob, outline, outlines = [] } = this.crop;
    return { blob, outlines: outline ? [outline] : outlines };
  }

  _actions(...buttons) {
    this._turning = button("Turn", () => this._turn(), { title: "Turn by a quarter and read again" });
    this._marking = button("Mark words…", () => this._mark(this), { title: "Mark the words of a photo, to read each" });
    this._offerMarking();
    return element("div", { class: "actions" }, this._marking, ...buttons, this._turning);
  }

  /** What a person may do with the picture depends on what it is, which is known when the browser has it. */
  _offerMarking() {
    if (!this._marking) return;
    const isWhole = this._size && !this.crop.outline;
    this._turning.hidden = !isWhole;
    this._marking.hidden = !isWhole || !mayHoldSeveral(this._size);
    this._marking.className = isWhole && isPhoto(this._size) ? "primary" : "";
  }

  async _turn() {
    this._quarters = (this._quarters + 1) % 4;
    const blob = this._quarters ? await turnedRight(this.crop.blob).catch(() => null) : this._original;
    if (!blob) {
      this._quarters = (this._quarters + 3) % 4;
      return notice(`This browser has no room to turn ${this.crop.name}.`);
    }
    this.crop = { ...this.crop, blob, outlines: [] };
    this._showPicture();
    this._again(this);
  }
}

function isLong(answer) {
  return final(answer).text.length > LONG;
}

function confidence({ confidence, model }) {
  const meaning = model.calibrated
    ? "How likely it is that the whole word is right"
    : "How likely the network finds the whole word; this model is not calibrated";
  return element(
    "p",
    { class: "confidence", title: meaning },
    unseen("Confidence "),
    element("strong", {}, percent(confidence, 1)),
    " %",
    model.calibrated ? null : element("small", {}, "uncalibrated"),
  );
}
