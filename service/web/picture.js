// A crop's picture: its thumbnail, enlarged, and turned.

import { button, element, svg } from "./dom.js";
import { sizeOf } from "./outlines.js";

const THUMBNAIL = { width: 152, height: 64 };
const ENLARGED = { width: 0.9, height: 0.7 };
// A marked word is cut out with so much around it, of its height, and kept at no more than so many pixels a side.
const MARGIN = 0.15;
const CUT_SIDE = 640;
// Beyond so many pixels a PNG of a photo is more than a service takes.
const PHOTO_PIXELS = 1_000_000;

/**
 * A button that shows `enlarged()`, a `blob` with `outlines` marked in it. `loaded(size)` gets the thumbnail's pixels, or
 * null if the browser cannot show it.
 */
export function thumbnail(name, url, loaded, enlarged) {
  const image = element("img", { src: url, alt: "", draggable: false });
  const frame = button("", () => enlarge(name, enlarged()), { class: "picture", title: "Enlarge", aria: { label: `Enlarge ${name}` } });
  frame.append(image);
  image.addEventListener("load", () => {
    fit(image, THUMBNAIL.width, THUMBNAIL.height);
    loaded({ width: image.naturalWidth, height: image.naturalHeight });
  });
  image.addEventListener("error", () => {
    const extension = /\.(\w{1,5})$/.exec(name)?.[1] ?? "?";
    frame.replaceWith(element("div", { class: "picture", title: "No preview" }, extension.toUpperCase()));
    loaded(null);
  });
  return frame;
}

/** The picture turned by a quarter to the right, as a file. */
export async function turnedRight(blob) {
  const bitmap = await createImageBitmap(blob);
  const { width, height } = bitmap;
  const canvas = element("canvas", { width: height, height: width });
  const context = canvas.getContext("2d");
  context.translate(height, 0);
  context.rotate(Math.PI / 2);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const type = width * height > PHOTO_PIXELS ? "image/jpeg" : "image/png";
  return new Promise((resolve) => canvas.toBlob(resolve, type, 0.95));
}

/** Pictures of marked words, as files: the photo around each, with its outline. */
export async function cuttings(blob, outlines) {
  const bitmap = await createImageBitmap(blob);
  const cut = await Promise.all(outlines.map((outline) => cutting(bitmap, outline)));
  bitmap.close();
  return cut;
}

function cutting(bitmap, outline) {
  const [xs, ys] = [0, 1].map((axis) => outline.map((point) => point[axis]));
  const margin = MARGIN * sizeOf(outline).height;
  const [left, top] = [Math.min(...xs) - margin, Math.min(...ys) - margin];
  const [width, height] = [Math.max(...xs) + margin - left, Math.max(...ys) + margin - top];
  const scale = Math.min(1, CUT_SIDE / Math.max(width, height));
  const canvas = element("canvas", { width: Math.max(1, width * scale), height: Math.max(1, height * scale) });
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  context.translate(-left, -top);
  context.drawImage(bitmap, 0, 0);
  context.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--mark");
  context.lineWidth = Math.max(1, height / 40);
  context.beginPath();
  for (const point of outline) context.lineTo(...point);
  context.closePath();
  context.stroke();
  return new Promise((resolve) => canvas.toBlob(resolve));
}

/** Gives a polygon the corners of an outline. */
export function drawn(polygon, outline) {
  polygon.setAttribute("points", outline.map((point) => point.join(",")).join(" "));
  return polygon;
}

/** Numbers beside outlines; `scale`: how many pixels of the photo one of the screen is. */
export function numbers(outlines, scale) {
  return outlines.map(([[x, y]], place) => {
    const at = { class: "number", x, y: Math.max(y - 4 * scale, 14 * scale), "font-size": 14 * scale, "stroke-width": 3 * scale };
    return svg("text", at, String(place + 1));
  });
}

function enlarge(name, { blob, outlines }) {
  const dialog = document.getElementById("zoom");
  const url = URL.createObjectURL(blob);
  const image = element("img", { src: url, alt: `The crop ${name}` });
  const stage = element("div", { class: "photo" }, image);
  const size = element("p", { class: "facts" });
  image.addEventListener("load", () => {
    const { naturalWidth, naturalHeight } = image;
    const scale = fit(image, ENLARGED.width * innerWidth, ENLARGED.height * innerHeight);
    size.textContent = `${naturalWidth} × ${naturalHeight} pixels, shown ${scale.toFixed(scale < 10 ? 1 : 0)} times as large`;
    const marks = outlines.map((outline) => drawn(svg("polygon", { class: "outline" }), outline));
    if (outlines.length > 1) marks.push(...numbers(outlines, 1 / scale));
    if (marks.length) stage.append(svg("svg", { viewBox: `0 0 ${naturalWidth} ${naturalHeight}`, "aria-hidden": true }, ...marks));
  });
  const title = element("h2", { id: "zoom-title" }, name);
  const close = button("Close", () => dialog.close());
  dialog.addEventListener("close", () => URL.revokeObjectURL(url), { once: true });
  dialog.replaceChildren(element("div", { class: "zoom-head" }, title, close), stage, size);
  dialog.showModal();
}

// In whole multiples, so that a small crop shows the pixels that the network gets.
function fit(image, width, height) {
  const { naturalWidth, naturalHeight } = image;
  const scale = Math.min(width / naturalWidth, height / naturalHeight);
  const whole = scale >= 1 ? Math.floor(scale) : scale;
  image.classList.toggle("pixels", whole >= 2);
  image.width = Math.max(1, Math.round(naturalWidth * whole));
  return whole;
}
