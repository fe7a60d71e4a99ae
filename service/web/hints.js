// What to say of a picture that is hardly one word.

const SURE = 0.9;
// Words are wide: a large picture that is not is a photo, a page or a screen.
const PHOTO = { side: 400, aspect: 2.2 };
const LINE_ASPECT = 12;
// Pixels of a picture that may hold words to be marked: a crop of one word is seldom so large.
const SEVERAL = 60_000;

/** A sentence, or an empty text. `size` is null if the browser cannot show the picture. */
export function hint(size, { note, confidence }) {
  if (note) return note;
  if (!size || confidence >= SURE) return "";
  if (isPhoto(size)) return "This looks like a whole photo or page. Mark its words, and each of them is read.";
  if (isLine(size)) return "This looks like a line of several words. Mark them, and each of them is read.";
  return "";
}

/** Whether it is large and not wide. */
export function isPhoto({ width, height }) {
  const [short, long] = [width, height].sort((one, other) => one - other);
  return short >= PHOTO.side && long < PHOTO.aspect * short;
}

/** Whether marking words in it makes sense. */
export function mayHoldSeveral(size) {
  return size.width * size.height >= SEVERAL || isLine(size);
}

function isLine({ width, height }) {
  const [short, long] = [width, height].sort((one, other) => one - other);
  return long > LINE_ASPECT * short;
}
