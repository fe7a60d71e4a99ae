// A crop's picture: its thumbnail, enlarged, and turned.

import { button, element } from "./dom.js";

const THUMBNAIL = { width: 152, height: 64 };
const ENLARGED = { width: 0.9, height: 0.7 };
// Beyond so many pixels a PNG of a photo is more than a service takes.
const PHOTO_PIXELS = 1_000_000;

/** A button that enlarges the picture; `loaded(size)` gets its pixels, or null if the browser cannot show it. */
export function thumbnail(name, url, loaded) {
  const image = element("img", { src: url, alt: "", draggable: false });
  const frame = button("", () => enlarge(name, url), { class: "picture", title: "Enlarge", aria: { label: `Enlarge ${name}` } });
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

function enlarge(name, url) {
  const dialog = document.getElementById("zoom");
  const image = element("img", { src: url, alt: `The crop ${name}` });
  const size = element("p", { class: "facts" });
  image.addEventListener("load", () => {
    const scale = fit(image, ENLARGED.width * innerWidth, ENLARGED.height * innerHeight);
    size.textContent = `${image.naturalWidth} × ${image.naturalHeight} pixels, shown ${scale.toFixed(scale < 10 ? 1 : 0)} times as large`;
  });
  const title = element("h2", { id: "zoom-title" }, name);
  const close = button("Close", () => dialog.close());
  dialog.replaceChildren(element("div", { class: "zoom-head" }, title, close), image, size);
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
