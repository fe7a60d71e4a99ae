// What to say of a picture that is hardly one word.

const SURE = 0.9;
// Words are wide: a large picture that is not is a photo, a page or a screen.
const PHOTO = { side: 400, aspect: 2.2 };
const LINE_ASPECT = 12;

/** A sentence, or an empty text. `size` is null if the browser cannot show the picture. */
export function hint(size, { note, confidence }) {
  if (note) return note;
  if (!size || confidence >= SURE) return "";
  const [short, long] = [size.width, size.height].sort((one, other) => one - other);
  if (short >= PHOTO.side && long < PHOTO.aspect * short) {
    return (
      "This looks like a whole photo or page. Cut each word out of it: one picture, one word. " +
      "Programs can send a photo with the corners of its words to /v1/read/regions."
    );
  }
  if (long > LINE_ASPECT * short) return "This looks like a line of several words. Cut it into words.";
  return "";
}
