// What the page asks of the service.

import { brokeOff, cannotBeOpened, failureOf, unreachable } from "./failures.js";
import { rounded } from "./outlines.js";

const KEY = "abinet-key";
const LARGE_BYTES = 1_000_000;
const SILENCE_MS = 8000;

/** The key lives as long as the tab. */
export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

/** The address of one of the service's routes, wherever a proxy has put the page. */
export function address(path, query = {}) {
  const url = new URL(path, document.baseURI);
  url.search = new URLSearchParams(query);
  return url.href;
}

/**
 * One crop's answer. `options`: those of /v1/read, its `lexicon` as a list. Throws Failure; AbortError where `signal`
 * says so.
 */
export async function read({ blob, name }, { lexicon, ...query }, signal) {
  const body = lexicon ? form({ image: [blob, name] }, lexicon) : blob;
  const headers = lexicon ? {} : { "Content-Type": "application/octet-stream" };
  try {
    return await json("v1/read", { query, method: "POST", body, headers, signal });
  } catch (error) {
    throw error.kind === "away" ? await whatBroke(blob, error) : error;
  }
}

/** For each crop its answer or its Failure, in their order. Throws what `read` throws if the batch as a whole failed. */
export async function readBatch(crops, { lexicon, ...query }, signal) {
  const body = form({}, lexicon);
  for (const { blob, name } of crops) body.append("images", blob, name);
  return results("v1/read/batch", query, body, signal);
}

/** The same for crops that are marked words of one photo. */
export async function readMarked(crops, { lexicon, ...query }, signal) {
  const [{ blob, photo }] = crops;
  const body = form({ image: [blob, photo.name] }, lexicon);
  body.append("regions", JSON.stringify(crops.map(({ outline }) => rounded(outline))));
  try {
    return await results("v1/read/regions", query, body, signal);
  } catch (error) {
    throw error.kind === "away" ? await whatBroke(blob, error) : error;
  }
}

function form(files, lexicon) {
  const made = new FormData();
  for (const [field, [blob, name]] of Object.entries(files)) made.append(field, blob, name);
  if (lexicon) made.append("lexicon", JSON.stringify(lexicon));
  return made;
}

async function results(path, query, body, signal) {
  const options = { query: { ...query, detail: "true" }, method: "POST", body, signal };
  const { items, model } = await json(path, options);
  return items.map(({ result, error }) => (result ? { ...result, model } : failureOf(error.status, error)));
}

export const model = () => json("v1/model");
export const latency = () => json("v1/latency");

/** ready, starting, draining or unreachable. */
export async function state() {
  try {
    // A frozen service, or a network that has gone, says nothing: the browser would wait for minutes.
    const signal = AbortSignal.timeout(SILENCE_MS);
    const response = await fetch(address("health/ready"), { cache: "no-store", signal });
    return (await response.json()).status;
  } catch {
    return "unreachable";
  }
}

async function json(path, { query, headers = {}, ...options } = {}) {
  const authorised = key.get() ? { ...headers, Authorization: `Bearer ${key.get()}` } : headers;
  let response, text;
  try {
    response = await fetch(address(path, query), { cache: "no-store", ...options, headers: authorised });
    text = await response.text();
  } catch (error) {
    throw error.name === "AbortError" ? error : unreachable();
  }
  const document = parsed(text);
  if (response.ok && document) return document;
  const retryAfter = Number(response.headers.get("Retry-After"));
  throw failureOf(response.status, document, { hasKey: key.get() !== "", retryAfter });
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

// A browser gives no reason for a request that broke off: a file may have gone, or been refused half sent.
async function whatBroke(blob, failure) {
  try {
    await blob.slice(0, 1).arrayBuffer();
  } catch {
    return cannotBeOpened();
  }
  if (blob.size < LARGE_BYTES || (await state()) !== "ready") return failure;
  return brokeOff(blob.size);
}
