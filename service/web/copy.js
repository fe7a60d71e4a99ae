// Texts for the clipboard.

import { address, key } from "./service.js";

/** A command for a shell that reads the same crop with the same options. */
export function curlCommand({ name, sample }, query) {
  const url = quoted(address("v1/read", query));
  const authorised = key.get() ? ' -H "Authorization: Bearer $ABINET_API_KEY"' : "";
  if (sample) return `curl -s ${quoted(address(sample))} | curl${authorised} --data-binary @- ${url}`;
  return `curl${authorised} --data-binary @${quoted(`./${name}`)} ${url}`;
}

/** Resolves to whether the text is on the clipboard. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyOldWay(text);
  }
}

// navigator.clipboard is there only under https and on localhost.
function copyOldWay(text) {
  const field = document.createElement("textarea");
  const focused = document.activeElement;
  field.value = text;
  field.className = "unseen";
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  focused?.focus();
  return copied;
}

function quoted(text) {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
