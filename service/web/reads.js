// What the model reads, said of its charset.

const DIGITS = "0123456789";
const LETTERS = "abcdefghijklmnopqrstuvwxyz";

/** For the manifest of a bundle: letters, digits and whatever else it knows, and how many of them. */
export function reads({ charset, max_length: most }) {
  const holds = (characters) => [...characters].every((character) => charset.includes(character));
  const known = [LETTERS, DIGITS].filter(holds);
  const others = [...charset].filter((character) => !known.join("").includes(character));
  const ranges = { [LETTERS]: "a–z", [DIGITS]: "0–9" };
  const parts = [...known.map((characters) => ranges[characters]), others.join(" ")].filter(Boolean);
  const kind = known.length === 2 ? "English letters and digits" : "Characters";
  return `${kind} (${parts.join(", ")}), up to ${most} of them`;
}
