// Where the time of crops went lately, and how many of them shared a call of the engine.

import { element } from "./dom.js";

const WINDOWS = { "1m": "1 minute", "5m": "5 minutes" };
const GRAPHS = ["vision", "refine", "abinet"];
const LABELLED = 4;
const FEWEST_COLUMNS = 8;

/** Shows reports of /v1/latency in `root`. */
export class LatencyPanel {
  constructor(root) {
    this._figures = root.querySelector(".figures");
    this._windows = root.querySelector(".windows");
    for (const [value, text] of Object.entries(WINDOWS)) this._windows.append(choice(value, text));
    this._windows.querySelector("input").checked = true;
    this._windows.addEventListener("change", () => this._draw());
    this._drawn = "";
  }

  show(report) {
    this._report = report;
    this._draw();
  }

  _draw() {
    if (!this._report) return;
    const { stages, batches } = this._report.windows[this._windows.querySelector(":checked").value];
    const facts = JSON.stringify([stages, batches]);
    if (facts === this._drawn) return;
    this._drawn = facts;
    const { count, p99 } = stages.total;
    if (!count) {
      this._figures.replaceChildren(element("p", { class: "facts" }, "No crops in this time."));
      return;
    }
    this._figures.replaceChildren(
      element("p", { class: "facts" }, `${count.toLocaleString("en")} ${count === 1 ? "crop" : "crops"}, milliseconds`),
      stageBars(stages, p99),
      element("h3", {}, "Crops in a call"),
      ...GRAPHS.filter((graph) => graph in batches).map((graph) => histogram(graph, batches[graph])),
    );
  }
}

function choice(value, text) {
  return element("label", {}, element("input", { type: "radio", name: "window", value }), element("span", {}, text));
}

function stageBars(stages, longest) {
  const head = ["Stage", "", "p50", "p90", "p99"].map((text) =>
    text ? element("th", { scope: "col" }, text) : element("td"),
  );
  const rows = Object.entries(stages).map(([stage, { p50, p90, p99 }]) => {
    const bar = element("td", { class: "spread", aria: { hidden: true } });
    for (const [name, value] of Object.entries({ p99, p90, p50 })) {
      const part = element("span", { class: name });
      part.style.setProperty("--part", Math.min(1, value / longest));
      bar.append(part);
    }
    const figures = [p50, p90, p99].map((value) => element("td", {}, milliseconds(value)));
    return element("tr", { class: stage }, element("th", { scope: "row" }, stage), bar, ...figures);
  });
  const caption = element("caption", { class: "unseen" }, "Milliseconds a crop spent in each stage");
  return element("table", { class: "bars" }, caption, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows));
}

function histogram(graph, { calls, fill, sizes }) {
  const most = Math.max(...Object.values(sizes));
  const largest = Math.max(FEWEST_COLUMNS, ...Object.keys(sizes).map(Number));
  const columns = Array.from({ length: largest }, (_, place) => {
    const size = place + 1;
    const label = size === 1 || size % LABELLED === 0 || size === largest ? String(size) : "";
    const column = element("span", { title: `${size}: ${sizes[size] ?? 0} calls` }, element("i"), element("small", {}, label));
    column.style.setProperty("--part", (sizes[size] ?? 0) / most);
    return column;
  });
  const said = Object.entries(sizes).map(([size, count]) => `${size}: ${count} calls`);
  const title = `${graph}: ${calls.toLocaleString("en")} calls, ${Math.round(100 * fill)} % full`;
  return element(
    "figure",
    { class: "histogram", role: "img", aria: { label: `${title}. By crops in a call, ${said.join(", ")}.` } },
    element("div", { class: "columns-of-calls" }, ...columns),
    element("figcaption", {}, title),
  );
}

function milliseconds(value) {
  if (value >= 10_000) return `${Math.round(value / 1000)} s`;
  return value.toFixed(value < 100 ? 1 : 0);
}
