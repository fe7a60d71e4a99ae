// Sends crops to the service, a few at a time and patiently.

import { announce } from "./dom.js";
import { read } from "./service.js";

// So many at once fill the service's batches and leave the browser's six connections some air.
const AT_ONCE = 4;
// In a row, in which no other crop was read either.
const TRIES = 6;

/** Reads cards in their order until it is stopped; calls `changed` when one has an answer or a failure. */
export class Reading {
  constructor(changed) {
    this._changed = changed;
    this._line = [];
    this._running = 0;
    this._answers = 0;
    this._stopping = new AbortController();
  }

  /** `query`: the options of /v1/read. */
  add(cards, query) {
    for (const card of cards) {
      card.wait("In line");
      this._line.push({ card, query });
    }
    while (this._running < AT_ONCE && this._line.length) this._work();
  }

  /** Forgets what waits and hangs up on the rest. */
  stop() {
    this._line = [];
    this._stopping.abort();
  }

  async _work() {
    this._running++;
    try {
      while (this._line.length) await this._read(this._line.shift());
    } finally {
      this._running--;
    }
  }

  async _read({ card, query }) {
    const { signal } = this._stopping;
    try {
      const answer = await this._patiently(card, query, signal);
      this._answers++;
      card.done(answer, query);
    } catch (error) {
      if (signal.aborted) return;
      if (!error.kind) throw error;
      card.fail(error);
    }
    this._changed(card);
  }

  async _patiently(card, query, signal) {
    let answers = this._answers;
    for (let tried = 1; ; tried++) {
      card.wait("Reading…");
      try {
        return await read(card.crop.blob, query, signal);
      } catch (error) {
        if (this._answers > answers) tried = 1;
        answers = this._answers;
        if (!error.retryAfter || tried === TRIES) throw error;
        const left = TRIES - tried === 1 ? "the last time" : `${TRIES - tried} tries left`;
        const text = `${error.title}. Trying again in ${error.retryAfter}\u00a0s, ${left}.`;
        card.wait(text);
        announce(`${card.crop.name}: ${text}`);
        await pause(error.retryAfter, signal);
      }
    }
  }
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
