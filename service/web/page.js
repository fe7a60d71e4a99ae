// The page: brings its parts together, and keeps an eye on the service.

import { Crops } from "./crops.js";
import { element, unseen } from "./dom.js";
import { listen } from "./intake.js";
import { askForKey, keyIsGood, listenForKey } from "./keys.js";
import { LatencyPanel } from "./latency.js";
import { hideNotice, notice } from "./notice.js";
import { offerSamples } from "./samples.js";
import * as service from "./service.js";

const LOOK_MS = 2000;
const STATES = {
  ready: "ready",
  starting: "starting, crops wait",
  draining: "shutting down",
  unreachable: "cannot be reached, trying again",
};

const at = (id) => document.getElementById(id);
const latency = new LatencyPanel(at("latency"));
const crops = new Crops(options, askForKey);
let looking = false;

/** The query of /v1/read as the controls stand. */
function options() {
  const iterations = document.querySelector("#iterations input:checked")?.value;
  return { ...(iterations && { iterations }), ...(at("early-stop").checked && { early_stop: "true" }) };
}

function give(files, folders) {
  hideNotice();
  if (folders) {
    notice("A folder cannot be dropped here. There is ", element("code", {}, "abinet read FOLDER"), " for that.");
  }
  crops.add(files.map((blob) => ({ blob, name: blob.name || "pasted.png" })));
}

async function learnModel() {
  try {
    showModel(await service.model());
    keyIsGood();
  } catch (failure) {
    if (failure.kind === "key") askForKey();
  }
}

function showModel({ name, version, engine, devices, manifest }) {
  const rest = ` ${version} · ${engine} on ${devices.join(", ")}`;
  at("model").replaceChildren(unseen("Model "), element("strong", {}, name), rest);
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
  if (now !== "unreachable") await service.latency().then((report) => latency.show(report), () => {});
  looking = false;
}

async function turn(now) {
  at("state").dataset.state = now;
  at("state").textContent = STATES[now];
  if (now === "unreachable") return;
  await learnModel();
  if (now === "ready") crops.retry("unreachable", "busy");
}

offerSamples((samples) => {
  hideNotice();
  crops.add(samples);
});
listen(at("files"), give);
at("choose").addEventListener("click", () => at("files").click());
listenForKey(async () => {
  await learnModel();
  crops.retry("key");
});
document.addEventListener("visibilitychange", look);
setInterval(look, LOOK_MS);
look();
