// What is in dropped or chosen folders.

// Also those for which the service needs an extra: it says so, and how to save them otherwise.
const PICTURE = /\.(png|jpe?g|jpe|jfif|bmp|dib|webp|tiff?|gif|avif|hei[cf])$/i;
// Far more than the page holds: who drops a disk gets an answer all the same.
const MOST = 5000;

/** Dropped files, and the pictures in dropped folders and all below them; and how many files there are none. */
export async function filesOf({ files, items }) {
  const entries = [...items].filter(({ kind }) => kind === "file").map((item) => item.webkitGetAsEntry?.() ?? null);
  const given = [...files].filter((_, place) => !entries[place]?.isDirectory).map((blob) => ({ blob, name: blob.name }));
  const found = [];
  for (const entry of entries) if (entry?.isDirectory) await walk(entry, found);
  const [kept, others] = pictures(found);
  return [[...given, ...kept], others];
}

/** Those whose names end as an image's, in the order of their names, and how many others there are. */
export function pictures(files) {
  const seen = files.filter(({ name }) => !/(^|\/)\./.test(name));
  const kept = seen.filter(({ name }) => PICTURE.test(name));
  kept.sort((one, other) => one.name.localeCompare(other.name, "en", { numeric: true }));
  return [kept, seen.length - kept.length];
}

async function walk(folder, found) {
  const reader = folder.createReader();
  for (;;) {
    // Chromium gives a hundred at a time.
    const entries = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
    if (!entries.length) return;
    for (const entry of entries) {
      if (found.length >= MOST) return;
      if (entry.isDirectory) await walk(entry, found);
      else await new Promise((resolve) => entry.file((blob) => resolve(found.push({ blob, name: entry.fullPath.slice(1) })), resolve));
    }
  }
}
