// What the page asks of the service, and what it says when it gets no answer.

const KEY = "abinet-key";
const HINTS = {
  "body-too-large": "Crop the picture to the word, or store it smaller.",
  "too-many-pixels": "Crop the picture to the word, or store it smaller.",
  "queue-full": "The service stayed full. Try again in a while.",
  "deadline-exceeded": "The service is slow or busy. Try again in a while.",
};
const NO_DOCUMENT = { detail: "Something between this page and the service has answered in its place." };
const LARGE_BYTES = 1 << 20;

/** Why something was not read: for people a title and a detail, for the page what may be done about it. */
export class Failure extends Error {
  /**
   * `kind`: crop (its own fault), service, busy, key or unreachable; `retryAfter`: seconds, where it is worth
   * asking again unasked.
   */
  constructor(kind, title, detail, { hint = "", retryAfter = 0 } = {}) {
    super(title);
    Object.assign(this, { kind, title, detail, hint, retryAfter });
  }

  /** Whether the same crop would only fail again. */
  get final() {
    return this.kind === "crop";
  }
}

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
export async function read(blob, query, signal) {
  const headers = { "Content-Type": "application/octet-stream" };
  try {
    return await json("v1/read", { query, method: "POST", body: blob, headers, signal });
  } catch (error) {
    throw error.kind === "unreachable" ? await whatBroke(blob, error) : error;
  }
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
    if (error.name === "AbortError") throw error;
    throw new Failure("unreachable", "The service cannot be reached", "It may be down, or the network is.", {
      hint: "The crop is read as soon as the service is back.",
    });
  }
  const document = parsed(text);
  if (response.ok && document) return document;
  throw failureOf(response, document ?? NO_DOCUMENT);
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function failureOf(response, { type = "", title, detail = "" }) {
  const { status } = response;
  const kind = { 401: "key", 429: "busy", 503: "busy" }[status] ?? (status >= 400 && status < 500 ? "crop" : "service");
  if (kind === "key") {
    const text = key.get() ? "It does not know the one it was given." : "The crop is read when it has one.";
    return new Failure(kind, "The service asks for a key", text);
  }
  return new Failure(kind, title ?? `The service answered ${response.status}`, detail, {
    hint: HINTS[type.split(":").pop()] ?? "",
    retryAfter: kind === "busy" ? Number(response.headers.get("Retry-After")) || 1 : 0,
  });
}

// A browser gives no reason for a request that broke off: a file may have gone, or been refused half sent.
async function whatBroke(blob, failure) {
  try {
    await blob.slice(0, 1).arrayBuffer();
  } catch {
    return new Failure("crop", "The file cannot be opened", "It has been moved or changed, or is a folder.");
  }
  if (blob.size < LARGE_BYTES || (await state()) === "unreachable") return failure;
  const size = (blob.size / LARGE_BYTES).toFixed(1);
  return new Failure("crop", "The service broke off", `The file has ${size} MiB, probably more than it takes.`, {
    hint: HINTS["body-too-large"],
  });
}
