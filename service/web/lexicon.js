// The field for a lexicon: the words that it may be, one a line.

// What the service takes, in words and in characters of a word.
const MOST = 10_000;
const LONGEST = 64;

const at = (id) => document.getElementById(id);

/** The words that are in the field now; none if there are none. */
export function lexicon() {
  return split().words;
}

/** Says below the field what is in it. */
export function listenForLexicon() {
  at("lexicon").addEventListener("input", () => {
    const { words, others } = split();
    const count = words.length === 1 ? "1 word" : `${words.length.toLocaleString("en")} words`;
    const left = `; ${others.toLocaleString("en")} left out: the service takes ${MOST.toLocaleString("en")} of up to ${LONGEST} characters`;
    at("lexicon-count").textContent = words.length || others ? `${count}${others ? left : ""}` : "";
  });
}

function split() {
  const lines = at("lexicon").value.split("\n").map((line) => line.trim());
  const given = [...new Set(lines)].filter(Boolean);
  const words = given.filter((word) => [...word].length <= LONGEST).slice(0, MOST);
  return { words, others: given.length - words.length };
}
