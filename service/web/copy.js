// Texts for the clipboard.

import { announce, button } from "./dom.js";
import { rounded } from "./outlines.js";
import { address, key } from "./service.js";

const LABEL_MS = 1500;

/** A command for a shell that reads the same crop with the same options. */
export function curlCommand({ name, sample, photo, outline }, { lexicon, ...query }) {
  const authorised = key.get() ? ' -H "Authorization: Bearer $ABINET_API_KEY"' : "";
  const file = sample && !photo ? "-" : `./${photo?.name ?? name}`;
  const fields = {
    ...(outline && { regions: JSON.stringify([rounded(outline)]) }),
    ...(lexicon && { lexicon: JSON.stringify(lexicon) }),
  };
  const named = Object.entries(fields).map(([field, text]) => ` --form-string ${quoted(`${field}=${text}`)}`).join("");
  // Within quotes, because a name may have a comma or a semicolon.
  const inForm = `image=@"${file.replaceAll(/["\\]/g, String.raw`\$&`)}"`;
  const sent = named ? ` -F ${quoted(inForm)}${named}` : ` --data-binary @${quoted(file)}`;
  const url = quoted(address(outline ? "v1/read/regions" : "v1/read", query));
  const fetched = file === "-" ? `curl -s ${quoted(address(sample))} | ` : "";
  return `${fetched}curl${authorised}${sent} ${url}`;
}

/** A button that copies what `text()` gives, and says so. */
export function copying(label, text) {
  const made = button(label, async () => {
    const copied = await copy(text());
    made.textContent = copied ? "Copied" : "Not allowed";
    announce(copied ? `${label}: copied` : "The browser does not allow copying");
    setTimeout(() => (made.textContent = label), LABEL_MS);
  });
  return made;
}

/** Resolves to whether the text is on the clipboard. */
async function copy(text) {
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
