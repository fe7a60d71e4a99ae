// One message above the crops, about what a person has just tried.

/** Shows it, and has it read out. */
export function notice(...content) {
  place().replaceChildren(...content);
  place().hidden = false;
}

export function hideNotice() {
  place().hidden = true;
}

function place() {
  return document.getElementById("notice");
}
