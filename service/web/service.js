// What the page asks of the service.

import { brokeOff, cannotBeOpened, failureOf, unreachable } from "./failures.js";

const KEY = "abinet-key";
const LARGE_BYTES = 1_000_000;

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

/** One crop's answer. Throws Failure; AbortError where `signal` says so. */
export async function read({ blob }, query, signal) {
  const headers = { "Content-Type": "application/octet-stream" };
  try {
    return await json("v1/read", { query, method: "POST", body: blob, headers, signal });
  } catch (error) {
    throw error.kind === "away" ? await whatBroke(blob, error) : error;
  }
}

/** For each crop its answer or its Failure, in their order. Throws what `read` throws if the batch as a whole failed. */
export async function readBatch(crops, query, signal) {
  const body = new FormData();
  for (const { blob, name } of crops) body.append("images", blob, name);
  const options = { query: { ...query, detail: "true" }, method: "POST", body, signal };
  const { items, model } = await json("v1/read/batch", options);
  return items.map(({ result, error }) => (result ? { ...result, model } : failureOf(error.status, error)));
}

export const model = () => json("v1/model");
export const latency = () => json("v1/latency");

/** ready, starting, draining or unreachable. */
export async function state() {
  try {
    const response = await fetch(address("health/ready"), { cache: "no-store" });
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
