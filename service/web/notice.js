// Messages above the crops, about what a person has just tried.

/** Shows it beside those that are shown, and has it read out. */
export function notice(...content) {
  if (place().hidden) place().replaceChildren(...content);
  else place().append(" ", ...content);
  place().hidden = false;
}

export function hideNotice() {
  place().hidden = true;
}

function place() {
  return document.getElementById("notice");
}
