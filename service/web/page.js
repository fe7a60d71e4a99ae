// The page: brings its parts together, and keeps an eye on the service.

import { Crops } from "./crops.js";
import { element, unseen } from "./dom.js";
import { listen } from "./intake.js";
import { askForKey, keyIsGood, listenForKey } from "./keys.js";
import { LatencyPanel } from "./latency.js";
import { lexicon, listenForLexicon } from "./lexicon.js";
import { hideNotice, notice } from "./notice.js";
import { reads } from "./reads.js";
import { offerSamples } from "./samples.js";
import * as service from "./service.js";

const LOOK_MS = 2000;
const ALTERNATIVES = 3;
const STATES = {
  ready: "ready",
  starting: "starting, crops wait",
  draining: "shutting down",
  unreachable: "cannot be reached, trying again",
};

const at = (id) => document.getElementById(id);
const latency = new LatencyPanel(at("latency"));
let limits;
const crops = new Crops(options, () => limits, askForKey);
let looking = false;

/** The options of /v1/read as the controls stand. */
function options() {
  const iterations = document.querySelector("#iterations input:checked")?.value;
  const words = lexicon();
  return {
    ...(iterations && { iterations }),
    ...(at("early-stop").checked && { early_stop: "true" }),
    alternatives: ALTERNATIVES,
    ...(words.length && { lexicon: words }),
  };
}

function give(given, others) {
  hideNotice();
  if (others === 1) notice("1 file was passed over that is no picture by its name.");
  if (others > 1) notice(`${others.toLocaleString("en")} files were passed over that are no pictures by their names.`);
  crops.add(given);
}

async function learnModel() {
  try {
    showModel(await service.model());
    keyIsGood();
  } catch (failure) {
    if (failure.kind === "key") askForKey();
  }
}

function showModel({ name, version, engine, devices, manifest, limits: stated }) {
  limits = stated;
  const rest = element("span", {}, ` ${version} · ${engine} on ${devices.join(", ")}`);
  at("model").replaceChildren(unseen("Model "), element("strong", {}, name), rest);
  at("reads").textContent = reads(manifest);
  if (!at("iterations").hidden) return;
  at("iterations").hidden = false;
  for (let count = 0; count <= manifest.iterations; count++) {
    const checked = count === manifest.iterations;
    const radio = element("input", { type: "radio", name: "iterations", value: count, checked });
    at("iterations").append(element("label", {}, radio, element("span", {}, String(count))));
  }
}

async function look() {
  if (document.hidden || looking) return;
  looking = true;
  const now = await service.state();
  if (now !== at("state").dataset.state) await turn(now);
  if (now === "ready") crops.resume("away");
  const wanted = now !== "unreachable" && !at("latency").hidden;
  if (wanted) await service.latency().then((report) => latency.show(report), () => {});
  looking = false;
}

async function turn(now) {
  at("state").dataset.state = now;
  at("state").textContent = STATES[now];
  if (now !== "unreachable") await learnModel();
}

function toggleLatency() {
  const open = at("latency").hidden;
  at("latency").hidden = !open;
  at("latency-toggle").ariaExpanded = open;
  if (open) look();
}

offerSamples((samples) => {
  hideNotice();
  crops.add(samples);
});
listen(at("files"), at("folder"), give);
at("choose").addEventListener("click", () => at("files").click());
at("choose-folder").addEventListener("click", () => at("folder").click());
at("latency-toggle").addEventListener("click", toggleLatency);
listenForLexicon();
listenForKey(async () => {
  await learnModel();
  crops.resume("key");
});
document.addEventListener("visibilitychange", look);
setInterval(look, LOOK_MS);
look();
