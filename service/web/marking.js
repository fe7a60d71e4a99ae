// Marking the words of a photo: a drag makes a box, its corners make a quadrilateral of it.

import { announce, button, element, svg } from "./dom.js";
import { box, moved, nearestCorner, shortestSide, within } from "./outlines.js";
import { drawn, numbers } from "./picture.js";

// In pixels of the screen: how far from a corner a finger or the mouse still takes it, and the least side of a box.
const REACH = { touch: 22, other: 10 };
const LEAST = 5;
const CORNERS = ["upper left", "upper right", "lower right", "lower left"];
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Opens the photo, a crop; its `outlines` are kept there. `read(outlines)` is called for those to be read. */
export function mark(photo, read) {
  const dialog = document.getElementById("marking");
  const url = URL.createObjectURL(photo.blob);
  const image = element("img", { src: url, alt: "", draggable: false });
  image.addEventListener("load", () => new Marking(dialog, image, photo, read));
  dialog.addEventListener("close", () => URL.revokeObjectURL(url), { once: true });
  dialog.replaceChildren(image);
  dialog.showModal();
}

class Marking {
  constructor(dialog, image, photo, read) {
    photo.outlines ??= [];
    this._photo = photo;
    this._size = { width: image.naturalWidth, height: image.naturalHeight };
    this._chosen = null; // an outline
    this._drag = null;
    const title = element("h2", { id: "marking-title" }, `Words of ${photo.name}`);
    const help = "Drag over a word to mark it, drag its corners to fit it. Delete removes a mark, arrow keys move it.";
    this._canvas = svg("svg", {
      viewBox: `0 0 ${this._size.width} ${this._size.height}`,
      role: "group",
      "aria-label": "Marked words",
      tabindex: -1,
    });
    [this._marks, this._numbers, this._corners] = ["g", "g", "g"].map((tag) => this._canvas.appendChild(svg(tag, {})));
    this._read = button("", () => (dialog.close(), read(photo.outlines)), { class: "primary" });
    this._delete = button("Delete", () => this._remove(this._chosen));
    this._stage = element("div", { class: "photo" }, image, this._canvas);
    const buttons = [this._read, button("Add a box", () => this._addInTheMiddle()), this._delete];
    dialog.replaceChildren(
      element("div", { class: "zoom-head" }, title, button("Close", () => dialog.close())),
      element("p", { class: "facts" }, help),
      this._stage,
      element("div", { class: "row" }, ...buttons),
    );
    this._listen();
    const sized = new ResizeObserver(() => this._show());
    sized.observe(this._stage);
    dialog.addEventListener("close", () => sized.disconnect(), { once: true });
    this._show();
    this._canvas.focus();
  }

  get _outlines() {
    return this._photo.outlines;
  }

  /** How many pixels of the photo one of the screen is. */
  get _scale() {
    return this._size.width / (this._canvas.getBoundingClientRect().width || 1);
  }

  _listen() {
    const canvas = this._canvas;
    canvas.addEventListener("pointerdown", (event) => this._begin(event));
    canvas.addEventListener("pointermove", (event) => this._go(event));
    canvas.addEventListener("pointerup", () => this._end());
    canvas.addEventListener("pointercancel", () => this._cancel());
    // Otherwise a finger that lifts while it moves sets off a fling, and the next tap, on "Read", only stops that.
    canvas.addEventListener("touchmove", (event) => event.touches.length === 1 && event.preventDefault(), { passive: false });
    canvas.addEventListener("focusin", ({ target }) => {
      const place = target.dataset.place;
      if (place !== undefined && !this._drag) this._choose(this._outlines[place]);
    });
    this._stage.parentElement.onkeydown = (event) => this._press(event);
  }

  _point(event) {
    const { left, top } = this._canvas.getBoundingClientRect();
    const scale = this._scale;
    return within([(event.clientX - left) * scale, (event.clientY - top) * scale], this._size);
  }

  _begin(event) {
    if (!event.isPrimary || event.button) return;
    event.preventDefault(); // the focus is set below
    this._canvas.setPointerCapture(event.pointerId);
    const start = this._point(event);
    const place = event.target.dataset.place;
    const hit = place === undefined ? null : this._outlines[place];
    const corner = this._cornerAt(start, event.pointerType, hit);
    if (corner !== null) this._drag = { corner, start, outline: this._chosen };
    else if (hit) this._drag = { start, outline: hit };
    else this._drag = { start, isNew: true, outline: null };
    this._drag.before = this._drag.outline?.map((point) => [...point]);
    this._choose(this._drag.outline);
    this._focusOn(this._drag.outline);
  }

  /** Of the chosen outline, if one is so near; in a small outline not so far that there is no room to take hold of it. */
  _cornerAt(point, pointerType, hit) {
    if (!this._chosen) return null;
    const { corner, distance } = nearestCorner(this._chosen, point);
    const reach = this._scale * (REACH[pointerType] ?? REACH.other);
    return distance <= (hit === this._chosen ? Math.min(reach, shortestSide(hit) / 3) : reach) ? corner : null;
  }

  _go(event) {
    const drag = this._drag;
    if (!drag) return;
    const point = this._point(event);
    if (drag.isNew) {
      this._stretch(drag, point);
    } else if (drag.corner !== undefined) {
      drag.outline[drag.corner] = point;
    } else {
      const distance = [point[0] - drag.start[0], point[1] - drag.start[1]];
      drag.outline.splice(0, 4, ...moved(drag.before, distance, this._size));
    }
    this._show();
  }

  /** A new box appears when it is large enough not to be a click. */
  _stretch(drag, point) {
    const corners = box(drag.start, point);
    if (!drag.outline) {
      if (shortestSide(corners) < LEAST * this._scale) return;
      drag.outline = this._chosen = [];
      this._outlines.push(drag.outline);
    }
    drag.outline.splice(0, 4, ...corners);
  }

  _end() {
    const drag = this._drag;
    this._drag = null;
    if (!drag?.isNew || !drag.outline) return;
    if (shortestSide(drag.outline) < LEAST * this._scale) return this._remove(drag.outline);
    this._show();
    this._focusOn(drag.outline);
    announce(`Word ${this._outlines.length} is marked`);
  }

  _cancel() {
    const drag = this._drag;
    this._drag = null;
    if (!drag?.outline) return;
    if (drag.isNew) this._remove(drag.outline);
    else drag.outline.splice(0, 4, ...drag.before);
    this._show();
  }

  _press(event) {
    const taken = this._onKey(event);
    if (taken) event.preventDefault();
  }

  /** Whether the key meant something here: Escape closes the photo if it meant nothing. */
  _onKey({ key, shiftKey, target }) {
    if (key === "Escape") {
      if (this._drag) return this._cancel(), true;
      if (!this._chosen) return false;
      this._choose(null);
      this._canvas.focus();
      return true;
    }
    if (!this._chosen || !this._canvas.contains(target)) return false;
    if (key === "Delete" || key === "Backspace") return this._remove(this._chosen), true;
    if (!ARROWS[key]) return false;
    const distance = ARROWS[key].map((step) => step * this._scale * (shiftKey ? 10 : 1));
    const corner = target.dataset.corner;
    if (corner === undefined) this._chosen.splice(0, 4, ...moved(this._chosen, distance, this._size));
    else this._chosen[corner] = within(this._chosen[corner].map((value, axis) => value + distance[axis]), this._size);
    this._show();
    return true;
  }

  _addInTheMiddle() {
    const { width, height } = this._size;
    const outline = box([width / 3, height / 2 - width / 24], [(2 * width) / 3, height / 2 + width / 24]);
    this._outlines.push(outline.map((point) => within(point, this._size)));
    this._choose(this._outlines.at(-1));
    this._focusOn(this._chosen);
  }

  _remove(outline) {
    const place = this._outlines.indexOf(outline);
    if (place < 0) return;
    this._outlines.splice(place, 1);
    this._choose(this._outlines[Math.min(place, this._outlines.length - 1)] ?? null);
    this._focusOn(this._chosen);
    announce(`Word ${place + 1} is no longer marked`);
  }

  _choose(outline) {
    this._chosen = outline;
    this._show();
  }

  _focusOn(outline) {
    const place = this._outlines.indexOf(outline);
    (this._marks.children[place] ?? this._canvas).focus({ preventScroll: true });
  }

  _show() {
    const { children } = this._marks;
    const count = this._outlines.length;
    // The elements stay, with their focus.
    while (children.length > count) this._marks.lastChild.remove();
    while (children.length < count) this._marks.append(newOutline(children.length));
    this._outlines.forEach((outline, place) => {
      drawn(children[place], outline);
      children[place].classList.toggle("chosen", outline === this._chosen);
    });
    this._numbers.replaceChildren(...numbers(this._outlines, this._scale));
    this._showCorners();
    this._read.textContent = count === 1 ? "Read 1 word" : `Read ${count} words`;
    this._read.disabled = !count;
    this._delete.disabled = !this._chosen;
  }

  _showCorners() {
    if (!this._chosen) return this._corners.replaceChildren();
    if (!this._corners.children.length) this._corners.append(...CORNERS.map(newCorner));
    this._chosen.forEach(([x, y], corner) => {
      for (const [name, value] of Object.entries({ cx: x, cy: y, r: 6 * this._scale })) {
        this._corners.children[corner].setAttribute(name, value);
      }
    });
  }
}

function newOutline(place) {
  const named = { class: "outline", tabindex: 0, role: "button", "aria-label": `Word ${place + 1}`, "data-place": place };
  return svg("polygon", named);
}

function newCorner(name, corner) {
  return svg("circle", { class: "corner", tabindex: 0, role: "button", "aria-label": `Its ${name} corner`, "data-corner": corner });
}
