// All crops on the page: added, read, counted, arranged, handed out, cleared.

import { arrange, arranged, listenForOrder } from "./arrange.js";
import { hideBanner, showBanner } from "./banner.js";
import { Card } from "./card.js";
import { copying } from "./copy.js";
import { announce, element } from "./dom.js";
import { mark } from "./marking.js";
import { hideNotice, notice } from "./notice.js";
import { cuttings } from "./picture.js";
import { Reading } from "./reading.js";
import { csv, download, json, texts } from "./results.js";
import { shown } from "./words.js";

const MOST = 200;
const STATES = ["waiting", "read", "failed"];

const at = (id) => document.getElementById(id);

/** `options()` and `limits()` are what a crop is to be read with; `needsKey()` is called when the service asks for one. */
export class Crops {
  constructor(options, limits, needsKey) {
    this._options = options;
    this._limits = limits;
    this._needsKey = needsKey;
    this._cards = []; // the newest first
    this._reading = this._newReading();
    at("again").addEventListener("click", () => this._again());
    at("clear").addEventListener("click", () => this._clear());
    at("exports").prepend(copying("Copy texts", () => texts(this._shown)));
    at("csv").addEventListener("click", () => download("texts.csv", "text/csv", csv(this._shown)));
    at("json").addEventListener("click", () => download("texts.json", "application/json", json(this._shown)));
    listenForOrder(() => this._count());
  }

  /** New ones go to the top, in the order in which they were given. Each has a `blob` and a `name`. */
  add(crops) {
    const room = MOST - this._cards.length;
    const does = {
      again: (card) => this._start([card]),
      gone: (card) => this._remove(card),
      mark: (card) => mark(card.crop, (outlines) => this._readMarked(card.crop, outlines)),
    };
    const added = crops.slice(0, room).map((crop) => new Card(crop, does));
    this._cards.unshift(...added);
    at("cards").prepend(...added.map((card) => card.element));
    this._start(added);
    if (crops.length > room) tooMany(crops.length - room);
    if (added.length && added[0].element.getBoundingClientRect().bottom > innerHeight) at("crops").scrollIntoView();
  }

  /** The service is back, or has got a key: goes on with what waited for it. */
  resume(kind) {
    this._reading.resume(kind);
    this._count();
  }

  /** The marked words of a photo, each as a crop, in the place of those that were marked before. */
  async _readMarked(photo, outlines) {
    // A phone may lack the memory; then the photo stands for its words.
    const previews = await cuttings(photo.blob, outlines).catch(() => []);
    const before = this._cards.filter(({ crop }) => crop.photo === photo);
    this._cards = this._cards.filter((card) => !before.includes(card));
    for (const card of before) card.remove();
    const words = outlines.map((mark, number) => ({
      blob: photo.blob,
      name: `Word ${number + 1} of ${photo.name}`,
      photo,
      number,
      mark,
      outline: mark.map((corner) => [...corner]),
      preview: previews[number],
    }));
    this.add(words);
  }

  get _shown() {
    return arranged(this._cards);
  }

  _again() {
    this._start(this._cards.filter((card) => card.state !== "waiting"));
  }

  _newReading() {
    return new Reading(
      (card) => this._changed(card),
      (failure) => this._held(failure),
    );
  }

  _start(cards) {
    if (!cards.length) return;
    this._reading.add(cards, this._options(), this._limits());
    this._count();
  }

  _held(failure) {
    if (failure.kind === "key") this._needsKey();
    this._count();
  }

  _changed(card) {
    const count = this._count();
    if (count.waiting) return;
    const one = `${card.crop.name}: ${card.failure ? card.failure.title : shown(card.text)}`;
    announce(this._cards.length === 1 ? one : `${count.read} crops read, ${count.failed} failed`);
  }

  _count() {
    const count = Object.fromEntries(STATES.map((state) => [state, 0]));
    for (const card of this._cards) count[card.state]++;
    const seen = arrange(this._cards, at("cards"));
    const several = this._cards.length > 1;
    at("bar").hidden = !this._cards.length;
    at("arrange").hidden = at("exports").hidden = !several;
    const counts = STATES.filter((state) => count[state]).map((state) => `${count[state]} ${state}`);
    if (seen < this._cards.length) counts.push(`${seen} shown`);
    at("tally").textContent = counts.join(", ");
    at("empty").hidden = seen > 0 || !this._cards.length;
    if (this._reading.held?.kind === "away" && count.waiting) showBanner(this._reading.held, count.waiting);
    else hideBanner();
    return count;
  }

  _remove(card) {
    const next = card.element.nextElementSibling ?? card.element.previousElementSibling;
    this._cards = this._cards.filter((one) => one !== card);
    const { photo, mark: marked } = card.crop;
    if (photo) photo.outlines = photo.outlines.filter((one) => one !== marked);
    card.remove();
    this._count();
    announce(`${card.crop.name}: removed`);
    (next ?? at("choose")).focus();
  }

  _clear() {
    this._reading.stop();
    this._reading = this._newReading();
    for (const card of this._cards) card.remove();
    this._cards = [];
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
