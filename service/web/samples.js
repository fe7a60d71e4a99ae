// The crops that the service brings along.

import { button, element } from "./dom.js";
import { notice } from "./notice.js";
import { address } from "./service.js";

const NAMES = ["cleans", "80th", "telescope", "glowing", "corkys", "harmony", "overrun", "relocation"];

/** Shows them as buttons; `take(crops)` gets those that are chosen. */
export function offerSamples(take) {
  const choose = async (names) => {
    try {
      take(await Promise.all(names.map(fetched)));
    } catch {
      notice("The samples cannot be fetched: the service cannot be reached.");
    }
  };
  for (const name of NAMES) {
    const label = `Read the sample ${name}`;
    const made = button("", () => choose([name]), { class: "sample", title: name, aria: { label } });
    made.append(element("img", { src: path(name), alt: "" }));
    document.getElementById("samples").append(made);
  }
  document.getElementById("all-samples").addEventListener("click", () => choose(NAMES));
}

async function fetched(name) {
  const response = await fetch(address(path(name)));
  return { blob: await response.blob(), name: `${name}.png`, sample: path(name) };
}

function path(name) {
  return `web/samples/${name}.png`;
}
