// The page: what a person gives it becomes cards, and cards are read.

import { Card } from "./card.js";
import { announce, button, element } from "./dom.js";
import { listen } from "./intake.js";
import { LatencyPanel } from "./latency.js";
import { Reading } from "./reading.js";
import * as service from "./service.js";
import { shown } from "./words.js";

const MOST_CARDS = 200;
const LOOK_MS = 2000;
const SAMPLES = ["cleans", "telescope", "80th", "glowing", "corkys", "harmony", "overrun", "relocation"];
const STATES = {
  ready: "ready",
  starting: "starting, crops wait",
  draining: "shutting down",
  unreachable: "cannot be reached, trying again",
};

const at = (id) => document.getElementById(id);
const panel = new LatencyPanel(at("latency"));
const cards = new Set();
let reading = new Reading(changed);
let model = null;

// Crops

function addCrops(crops) {
  const room = Math.max(0, MOST_CARDS - cards.size);
  const added = crops.slice(0, room).map((crop) => new Card(crop, (card) => start([card])));
  if (crops.length > room) tooMany(crops.length - room);
  for (const card of added) cards.add(card);
  at("cards").prepend(...added.map((card) => card.element));
  start(added);
  if (at("crops").getBoundingClientRect().top > 0.7 * innerHeight) at("crops").scrollIntoView();
}

function start(chosen) {
  if (!chosen.length) return;
  const early = at("early-stop").checked ? { early_stop: "true" } : {};
  const iterations = document.querySelector("#iterations input:checked")?.value;
  reading.add(chosen, { ...(iterations && { iterations }), ...early }, model?.manifest.iterations);
  tally();
}

function changed(card) {
  if (card.failure?.kind === "key") askForKey();
  const { waiting, read, failed } = tally();
  if (waiting) return;
  const name = card.crop.name;
  if (cards.size > 1) announce(`${read} read, ${failed} failed`);
  else announce(card.failure ? `${name}: ${card.failure.title}` : `${name}: ${shown(card.text)}`);
}

function tally() {
  const count = { waiting: 0, read: 0, failed: 0 };
  for (const card of cards) count[card.state]++;
  const words = { waiting: "waiting", read: "read", failed: "failed" };
  at("bar").hidden = !cards.size;
  at("tally").textContent = Object.keys(words).filter((state) => count[state]).map((state) => `${count[state]} ${words[state]}`).join(", ");
  return count;
}

function clear() {
  reading.stop();
  reading = new Reading(changed);
  for (const card of cards) card.remove();
  cards.clear();
  at("notice").hidden = true;
  tally();
  announce("Cleared");
  at("choose").focus();
}

function retryThose(kinds) {
  start([...cards].filter((card) => kinds.includes(card.failure?.kind)));
}

function give(files, folders) {
  at("notice").hidden = true;
  if (folders) notice("A folder cannot be dropped here. For whole folders there is ", element("code", {}, "abinet read FOLDER"), ".");
  addCrops(files.map((blob) => ({ blob, name: blob.name || "pasted.png" })));
}

function tooMany(left) {
  notice(
    `${left.toLocaleString("en")} crops were left out: this page holds ${MOST_CARDS}. For whole folders there is `,
    element("code", {}, "abinet read FOLDER"),
    ".",
  );
}

function notice(...content) {
  at("notice").replaceChildren(...content);
  at("notice").hidden = false;
}

// Samples

async function readSamples(names) {
  at("notice").hidden = true;
  try {
    addCrops(await Promise.all(names.map(sample)));
  } catch {
    notice("The samples cannot be fetched: the service cannot be reached.");
  }
}

async function sample(name) {
  const path = samplePath(name);
  const blob = await (await fetch(service.address(path))).blob();
  return { blob, name: `${name}.png`, sample: path };
}

function samplePath(name) {
  return `web/samples/${name}.png`;
}

function showSamples() {
  for (const name of SAMPLES) {
    const image = element("img", { src: samplePath(name), alt: "" });
    const chosen = button("", () => readSamples([name]), { class: "sample", title: name, aria: { label: `Read the sample ${name}` } });
    chosen.append(image);
    at("samples").append(chosen);
  }
}

// Keys

function askForKey() {
  if (!at("key-form").hidden) return;
  at("key-note").textContent = service.key.get()
    ? "The service does not know this key. Enter another one."
    : "It stays in this tab and is forgotten when the tab closes.";
  at("key-form").hidden = false;
  at("forget").hidden = true;
  at("key").focus();
}

async function useKey(event) {
  event.preventDefault();
  service.key.set(at("key").value.trim());
  at("key").value = "";
  at("key-form").hidden = true;
  await learnModel();
  if (!at("key-form").hidden) return;
  at("choose").focus();
  retryThose(["key"]);
}

function forgetKey() {
  service.key.forget();
  at("forget").hidden = true;
  askForKey();
}

// The service

async function learnModel() {
  try {
    model = await service.model();
  } catch (failure) {
    if (failure.kind === "key") askForKey();
    return;
  }
  at("forget").hidden = !service.key.get();
  at("model").replaceChildren(
    element("strong", {}, model.name),
    ` ${model.version}`,
    element("span", {}, `${model.engine} on ${model.devices.join(", ")}`),
  );
  showIterations(model.manifest.iterations);
}

function showIterations(most) {
  if (document.querySelector("#iterations input")) return;
  for (let count = 0; count <= most; count++) {
    const radio = element("input", { type: "radio", name: "iterations", value: count, checked: count === most });
    at("iterations").append(element("label", {}, radio, element("span", {}, String(count))));
  }
}

async function look() {
  if (document.hidden || look.looking) return;
  look.looking = true;
  const now = await service.state();
  if (now !== at("state").dataset.state) await turned(now);
  if (now !== "unreachable") await service.latency().then((report) => panel.show(report), () => {});
  look.looking = false;
}

async function turned(now) {
  const before = at("state").dataset.state;
  at("state").dataset.state = now;
  at("state").textContent = STATES[now];
  if (now === "unreachable") return;
  await learnModel();
  if (before !== "unknown" && now === "ready") retryThose(["unreachable", "busy"]);
}

showSamples();
listen(at("files"), give);
at("choose").addEventListener("click", () => at("files").click());
at("all-samples").addEventListener("click", () => readSamples(SAMPLES));
at("again").addEventListener("click", () => start([...cards]));
at("clear").addEventListener("click", clear);
at("key-form").addEventListener("submit", useKey);
at("forget").addEventListener("click", forgetKey);
document.addEventListener("visibilitychange", look);
setInterval(look, LOOK_MS);
look();
