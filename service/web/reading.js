// The line of crops to the service: in batches, a few at a time, patiently, and held as long as the service is away.

import { announce } from "./dom.js";
import { Failure, tooLarge } from "./failures.js";
import { read, readBatch, readMarked, state } from "./service.js";

// Small enough that the first words are there soon, and two of them keep the engine busy.
const AT_ONCE = 2;
const BATCH = 16;
// What a form needs for a file beside its bytes, generously.
const FORM_BYTES = 1024;
// In a row, in which no other crop was read either.
const TRIES = 6;
const HELD = { away: "Waiting for the service", key: "Waiting for a key" };

/** Reads cards in their order until it is stopped. */
export class Reading {
  /** `changed(card)`: it has an answer or a failure; `held(failure)`: nothing goes on until `resume`. */
  constructor(changed, held) {
    this._changed = changed;
    this._whenHeld = held;
    this._line = [];
    this._running = 0;
    this._answers = 0;
    this._stopping = new AbortController();
    this.held = null;
  }

  /** `options`: those of /v1/read; `limits`: those that the service states, or undefined. */
  add(cards, options, limits) {
    const order = { options, limits };
    for (const card of cards) {
      card.wait(this.held ? HELD[this.held.kind] : "In line");
      this._line.push({ card, order });
    }
    this._fill();
  }

  /** Goes on, if this is what it was held for. */
  resume(kind) {
    if (this.held?.kind !== kind) return;
    this.held = null;
    for (const { card } of this._line) card.wait("In line");
    this._fill();
  }

  /** Forgets what waits and hangs up on the rest. */
  stop() {
    this._line = [];
    this._stopping.abort();
  }

  _fill() {
    while (!this.held && this._running < AT_ONCE && this._line.length) this._work(...this._batch());
  }

  async _work(cards, order) {
    this._running++;
    try {
      await this._read(cards, order);
    } finally {
      this._running--;
    }
    this._fill();
  }

  /** The first crops of the line that may go together, and their order. */
  _batch() {
    const { card: first, order } = this._line[0];
    const { photo } = first.crop;
    const limit = order.limits?.max_batch_items ?? 1;
    const most = photo ? limit : Math.min(BATCH, limit); // a photo is sent as seldom as can be
    let room = order.limits?.max_body_bytes ?? Infinity;
    let count = 0;
    for (const { card, order: its } of this._line) {
      if (!photo) room -= card.crop.blob.size + FORM_BYTES;
      if (its !== order || card.crop.photo !== photo || count === most || (count && room < 0)) break;
      count++;
    }
    return [this._line.splice(0, count).map(({ card }) => card), order];
  }

  async _read(asked, order) {
    let answers = this._answers;
    for (let tried = 1; ; tried++) {
      const cards = asked.filter((card) => !card.removed);
      if (!cards.length || this._stopping.signal.aborted) return;
      if (this.held) return this._hold(cards, order, this.held);
      for (const card of cards) card.wait("Reading…");
      const failure = await this._ask(cards, order);
      if (!failure) return;
      if (failure.kind === "key" || (failure.kind === "away" && (await state()) !== "ready")) {
        return this._hold(cards, order, failure);
      }
      if (this._answers > answers) tried = 1;
      answers = this._answers;
      if (failure.final && cards[0].crop.photo) {
        for (const card of cards) this._settle(card, failure, order);
        return;
      }
      if (cards.length > 1) {
        if (failure.retryAfter) await this._pause(cards, failure, "");
        return this._readHalves(cards, order);
      }
      if (!failure.retryAfter || tried === TRIES) return this._settle(cards[0], failure, order);
      const left = TRIES - tried === 1 ? "the last time" : `${TRIES - tried} tries left`;
      await this._pause(cards, failure, `, ${left}`);
    }
  }

  // Something of the batch may be at fault for all of it, or there was no room for so many.
  async _readHalves(cards, order) {
    const middle = Math.ceil(cards.length / 2);
    await this._read(cards.slice(0, middle), order);
    await this._read(cards.slice(middle), order);
  }

  /** Undefined, or why none of them was read. */
  async _ask(cards, { options, limits }) {
    const crops = cards.map(({ crop }) => crop);
    const [{ blob, photo }] = crops;
    const { signal } = this._stopping;
    try {
      if ((photo || crops.length === 1) && blob.size > limits?.max_body_bytes) {
        throw tooLarge(blob.size, limits.max_body_bytes);
      }
      const several = photo ? readMarked : readBatch;
      const isMany = photo || crops.length > 1;
      const outcomes = isMany ? await several(crops, options, signal) : [await read(crops[0], options, signal)];
      cards.forEach((card, place) => this._settle(card, outcomes[place], { options }));
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Failure)) throw error;
      return error;
    }
  }

  _settle(card, outcome, { options }) {
    if (card.removed || this._stopping.signal.aborted) return;
    if (outcome instanceof Failure) {
      card.fail(outcome);
    } else {
      this._answers++;
      card.done(outcome, options);
    }
    this._changed(card);
  }

  _hold(cards, order, failure) {
    this.held = failure;
    this._line.unshift(...cards.map((card) => ({ card, order })));
    for (const { card } of this._line) card.wait(HELD[failure.kind]);
    this._whenHeld(failure);
  }

  async _pause(cards, { title, retryAfter }, left) {
    const text = `${title}. Trying again in ${retryAfter}\u00a0s${left}.`;
    for (const card of cards) card.wait(text);
    announce(cards.length === 1 ? `${cards[0].crop.name}: ${text}` : text);
    const { signal } = this._stopping;
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, 1000 * retryAfter);
      signal.addEventListener("abort", () => (clearTimeout(timer), resolve()));
    });
  }
}
