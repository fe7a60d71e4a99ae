// All crops on the page: added, read, counted, cleared.

import { Card } from "./card.js";
import { announce, element } from "./dom.js";
import { hideNotice, notice } from "./notice.js";
import { Reading } from "./reading.js";
import { shown } from "./words.js";

const MOST = 200;
const STATES = ["waiting", "read", "failed"];
const FAR_DOWN = 0.7;

const at = (id) => document.getElementById(id);

/** `options()` is what a crop is to be read with; `needsKey()` is called when the service asks for one. */
export class Crops {
  constructor(options, needsKey) {
    this._options = options;
    this._needsKey = needsKey;
    this._cards = new Set();
    this._reading = this._newReading();
    at("again").addEventListener("click", () => this._again());
    at("clear").addEventListener("click", () => this._clear());
  }

  /** New ones go to the top, in the order in which they were given. Each has a `blob` and a `name`. */
  add(crops) {
    const room = MOST - this._cards.size;
    const added = crops.slice(0, room).map((crop) => new Card(crop, (card) => this._start([card])));
    for (const card of added) this._cards.add(card);
    at("cards").prepend(...added.map((card) => card.element));
    this._start(added);
    if (crops.length > room) tooMany(crops.length - room);
    if (at("crops").getBoundingClientRect().top > FAR_DOWN * innerHeight) at("crops").scrollIntoView();
  }

  /** Reads those again that failed in one of these ways. */
  retry(...kinds) {
    this._start([...this._cards].filter((card) => kinds.includes(card.failure?.kind)));
  }

  _again() {
    this._start([...this._cards].filter((card) => card.state !== "waiting"));
  }

  _newReading() {
    return new Reading((card) => this._changed(card));
  }

  _start(cards) {
    if (!cards.length) return;
    this._reading.add(cards, this._options());
    this._count();
  }

  _changed(card) {
    if (card.failure?.kind === "key") this._needsKey();
    const count = this._count();
    if (count.waiting) return;
    const one = `${card.crop.name}: ${card.failure ? card.failure.title : shown(card.text)}`;
    announce(this._cards.size === 1 ? one : `${count.read} crops read, ${count.failed} failed`);
  }

  _count() {
    const count = Object.fromEntries(STATES.map((state) => [state, 0]));
    for (const card of this._cards) count[card.state]++;
    at("bar").hidden = !this._cards.size;
    at("tally").textContent = STATES.filter((state) => count[state])
      .map((state) => `${count[state]} ${state}`)
      .join(", ");
    return count;
  }

  _clear() {
    this._reading.stop();
    this._reading = this._newReading();
    for (const card of this._cards) card.remove();
    this._cards.clear();
    hideNotice();
    this._count();
    announce("Cleared");
    at("choose").focus();
  }
}

function tooMany(left) {
  notice(
    `${left.toLocaleString("en")} crops were left out: this page holds ${MOST}. For whole folders there is `,
    element("code", {}, "abinet read FOLDER"),
    ".",
  );
}
