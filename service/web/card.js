// One crop on the page: its picture, and what became of it.

import { copy, curlCommand } from "./copy.js";
import { announce, button, element, unseen } from "./dom.js";
import { final, stageTable, story } from "./stages.js";
import { largeWord, percent } from "./words.js";

const LABEL_MS = 1500;
const TURNED = { 90: "turned right", 180: "turned upside down", 270: "turned left" };
const THUMBNAIL = { width: 152, height: 64 };
let made = 0;

/** `crop`: a `blob` and its `name`, and `sample`, a path, where it is one of the service's own. */
export class Card {
  constructor(crop, again) {
    this.crop = crop;
    this.failure = null;
    this._again = again;
    this._url = URL.createObjectURL(crop.blob);
    this._facts = element("p", { class: "facts" });
    this._body = element("div", { class: "body" });
    const title = element("h3", { id: `crop-${++made}`, title: crop.name }, crop.name);
    const head = element("div", { class: "head" }, this._picture(), element("div", {}, title, this._facts));
    const named = { class: "card", tabIndex: -1, aria: { labelledby: title.id } };
    this.element = element("article", named, head, this._body);
    this.wait("In line");
  }

  get state() {
    return this.element.dataset.state;
  }

  /** Shows why there is no answer yet. */
  wait(text) {
    this._show("waiting", element("p", { class: "pending" }, text));
  }

  /** Shows the answer to `query`. */
  done(answer, query) {
    const word = final(answer);
    this.text = word.text;
    this._took = `${answer.timings_ms.total.toFixed(1)}\u00a0ms`;
    this._stopped = `stopped at iteration\u00a0${answer.stopped_at}`;
    this._turned = TURNED[answer.turned];
    this._showFacts();
    this._show(
      "read",
      element("div", { class: "verdict" }, largeWord(word), this._confidence(answer)),
      element("p", { class: "story" }, story(answer)),
      stageTable(answer, this.crop.name),
      element(
        "div",
        { class: "actions" },
        this._copying("Copy JSON", () => JSON.stringify(answer, null, 2)),
        this._copying("Copy curl", () => curlCommand(this.crop, query)),
      ),
    );
  }

  fail(failure) {
    this._show(
      "failed",
      element("p", { class: "problem" }, failure.title),
      element("p", {}, [failure.detail, failure.hint].filter(Boolean).join(" ")),
      failure.final ? null : element("div", { class: "actions" }, button("Try again", () => this._again(this))),
    );
    this.failure = failure;
  }

  remove() {
    URL.revokeObjectURL(this._url);
    this.element.remove();
  }

  _show(state, ...content) {
    this.failure = null;
    this.element.dataset.state = state;
    this.element.setAttribute("aria-busy", String(state === "waiting"));
    const hasFocus = this._body.contains(document.activeElement);
    this._body.replaceChildren(...content.filter((part) => part !== null));
    // The button that was pressed is gone: whoever works from the keyboard stays at the crop.
    if (hasFocus) this.element.focus();
  }

  _showFacts() {
    this._facts.textContent = [this._size, this._turned, this._took, this._stopped].filter(Boolean).join(" · ");
  }

  _picture() {
    const image = element("img", { src: this._url, alt: `The crop ${this.crop.name}`, draggable: false });
    const frame = element("div", { class: "picture" }, image);
    image.addEventListener("load", () => {
      const { naturalWidth: width, naturalHeight: height } = image;
      this._size = `${width} × ${height}`;
      this._showFacts();
      // Whole multiples, so that a small crop shows the pixels that the network gets.
      const scale = Math.min(THUMBNAIL.width / width, THUMBNAIL.height / height);
      frame.classList.toggle("pixels", scale >= 2);
      const whole = scale >= 1 ? Math.floor(scale) : scale;
      image.width = Math.max(1, Math.round(width * whole));
    });
    image.addEventListener("error", () => {
      const extension = /\.(\w{1,5})$/.exec(this.crop.name)?.[1] ?? "?";
      frame.replaceChildren(element("span", { title: "No preview" }, extension.toUpperCase()));
    });
    return frame;
  }

  _confidence({ confidence, model }) {
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

  _copying(label, text) {
    return button(label, async (pressed) => {
      const copied = await copy(text());
      pressed.textContent = copied ? "Copied" : "Not allowed";
      announce(copied ? `${label}: copied` : "The browser does not allow copying");
      setTimeout(() => (pressed.textContent = label), LABEL_MS);
    });
  }
}
