// Why something was not read, in people's words and units.

const MEGA = 1_000_000;
const CUT = "Cut the word out of the picture, or store it smaller.";
const LATER = "The service is slow or busy. Try again in a while.";
/** By the end of a problem's type: what a person is told in the place of its title, and what helps. */
const WORDS = {
  "not-an-image": ["The service cannot read files of this kind"],
  "broken-image": ["The picture is damaged or cut off"],
  "body-too-large": ["The file is too large", CUT],
  "too-many-pixels": ["The picture is too large", CUT],
  "queue-full": ["The service is busy", "It stayed busy. Try again in a while."],
  "bodies-full": ["The service is busy", "It stayed busy. Try again in a while."],
  "body-too-slow": ["The file took too long to arrive", LATER],
  "deadline-exceeded": ["Reading took too long", LATER],
  "engine-failed": ["The model failed on this crop"],
  fault: ["The service has failed"],
};
/** Of a proxy that has nobody behind it. */
const GATEWAY = [502, 503, 504];

/** For people a title, a detail and a hint; for the page what may be done about it. */
export class Failure extends Error {
  /**
   * `kind`: crop (its own fault), service, busy, key or away (nobody answers, or not yet); `retryAfter`: seconds, if
   * it is worth asking again unasked.
   */
  constructor(kind, title, detail = "", { hint = "", retryAfter = 0 } = {}) {
    super(title);
    Object.assign(this, { kind, title, detail, hint, retryAfter });
  }

  /** Whether the same crop would only fail again. */
  get final() {
    return this.kind === "crop";
  }
}

/** Nobody has answered. */
export function unreachable() {
  return new Failure("away", "The service cannot be reached", "It may have stopped, or the network is down.", {
    retryAfter: 1,
  });
}

/** A file that the service would refuse for its size; both in bytes. */
export function tooLarge(size, most) {
  return new Failure("crop", WORDS["body-too-large"][0], `It has ${megabytes(size)}; the service takes ${megabytes(most)}.`, {
    hint: CUT,
  });
}

/** A file that has gone. */
export function cannotBeOpened() {
  return new Failure("crop", "The file cannot be opened", "It has been moved or changed, or is a folder.");
}

/** The service hung up on a file, and is there. */
export function brokeOff(size) {
  return new Failure("crop", "The service broke off", `The file has ${megabytes(size)}, probably more than it takes.`, {
    hint: CUT,
  });
}

/** What a problem document says; `document` is null if the answer was none, so somebody else's. */
export function failureOf(status, document, { hasKey = false, retryAfter = 0 } = {}) {
  if (!document && GATEWAY.includes(status)) return unreachable();
  const { type = "", title, detail = "" } = document ?? {
    detail: "Something between this page and the service has answered in its place.",
  };
  if (status === 401) {
    const text = hasKey ? "It does not know the one it was given." : "The crop is read when it has one.";
    return new Failure("key", "The service asks for a key", text);
  }
  const kind = { 429: "busy", 503: "away" }[status] ?? (status >= 400 && status < 500 ? "crop" : "service");
  const [said, hint = ""] = WORDS[type.split(":").pop()] ?? [title ?? `The service answered ${status}`];
  const again = kind === "busy" || kind === "away" ? retryAfter || 1 : 0;
  return new Failure(kind, said, plain(detail), { hint, retryAfter: again });
}

/** A number of bytes in the units that people know from their files. */
function megabytes(bytes) {
  if (bytes < MEGA) return `${Math.round(bytes / 1000)}\u00a0kB`;
  return `${(bytes / MEGA).toFixed(bytes < 10 * MEGA ? 1 : 0)}\u00a0MB`;
}

function millions(count) {
  return `${(count / MEGA).toFixed(count < 10 * MEGA ? 1 : 0)} million`;
}

function plain(detail) {
  return detail
    .replace("The bytes must be", "It must be")
    .replace("The bytes are", "This is")
    .replace(/\b(\d{5,}) bytes\b/g, (_, bytes) => megabytes(Number(bytes)))
    .replace(/\b(\d+) x (\d+) pixels; the limit is (\d+)/, (_, width, height, most) => `It has ${millions(width * height)} pixels; the service takes ${millions(most)}`)
    .replace(/\b(\d{7,}) pixels\b/g, (_, pixels) => `${millions(pixels)} pixels`);
}
