// Which crops are shown, and in which order.

const certainty = (card) => card.answer?.confidence ?? (card.failure ? -1 : 2);
/** By the values of the two fields. What waits is at the end of the unsure ones, what failed at their start. */
const ORDERS = {
  newest: () => 0,
  unsure: (one, other) => certainty(one) - certainty(other),
  sure: (one, other) => (other.answer?.confidence ?? -1) - (one.answer?.confidence ?? -1),
  name: (one, other) => one.crop.name.localeCompare(other.crop.name, "en", { numeric: true }),
};
const KINDS = {
  all: () => true,
  "below-50": (card) => card.answer?.confidence < 0.5,
  "below-80": (card) => card.answer?.confidence < 0.8,
  "below-95": (card) => card.answer?.confidence < 0.95,
  changed: (card) => card.changed,
  failed: (card) => card.failure !== null,
};

const at = (id) => document.getElementById(id);

/** Calls `changed` when a person chooses another order or kind. */
export function listenForOrder(changed) {
  at("sort").addEventListener("change", changed);
  at("show").addEventListener("change", changed);
}

/** Of `cards`, the newest first, those that are shown, in their order. */
export function arranged(cards) {
  return cards.filter(KINDS[at("show").value]).sort(ORDERS[at("sort").value]);
}

/** Puts them into `place`, in which all cards are, and hides the others. */
export function arrange(cards, place) {
  const shown = new Set(arranged(cards));
  const inOrder = new Set([...shown, ...cards]);
  for (const card of cards) card.element.hidden = !shown.has(card);
  const elements = [...inOrder].map((card) => card.element);
  if (elements.every((element, position) => element === place.children[position])) return shown.size;
  const focused = document.activeElement;
  place.replaceChildren(...elements);
  if (place.contains(focused)) focused.focus({ preventScroll: true });
  return shown.size;
}
