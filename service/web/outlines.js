// Outlines of words on a photo: four corners [x, y] in pixels of the photo, from the word's upper left clockwise.

/** The upright box between two points. */
export function box([x1, y1], [x2, y2]) {
  const [left, right] = [Math.min(x1, x2), Math.max(x1, x2)];
  const [top, bottom] = [Math.min(y1, y2), Math.max(y1, y2)];
  return [[left, top], [right, top], [right, bottom], [left, bottom]];
}

/** The point, or the nearest one in the photo. */
export function within([x, y], { width, height }) {
  return [Math.min(width, Math.max(0, x)), Math.min(height, Math.max(0, y))];
}

/** The outline moved, as far as it stays in the photo. */
export function moved(outline, [across, down], size) {
  const room = (distance, values, most) => Math.max(-Math.min(...values), Math.min(most - Math.max(...values), distance));
  const dx = room(across, outline.map(([x]) => x), size.width);
  const dy = room(down, outline.map(([, y]) => y), size.height);
  return outline.map(([x, y]) => [x + dx, y + dy]);
}

/** Which corner is nearest to a point, and how far away. */
export function nearestCorner(outline, [x, y]) {
  const distances = outline.map(([cornerX, cornerY]) => Math.hypot(cornerX - x, cornerY - y));
  const distance = Math.min(...distances);
  return { corner: distances.indexOf(distance), distance };
}

/** The length of its shortest side. */
export function shortestSide(outline) {
  return Math.min(...sides(outline));
}

/** Width and height of the crop that the service cuts: of opposite sides the longer one's. */
export function sizeOf(outline) {
  const [top, right, bottom, left] = sides(outline);
  return { width: Math.round(Math.max(top, bottom)), height: Math.round(Math.max(left, right)) };
}

/** As the service takes it. */
export function rounded(outline) {
  return outline.map((point) => point.map((value) => Math.round(10 * value) / 10));
}

function sides(outline) {
  return outline.map(([x, y], place) => {
    const [nextX, nextY] = outline[(place + 1) % outline.length];
    return Math.hypot(nextX - x, nextY - y);
  });
}
