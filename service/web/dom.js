// Elements without markup: what comes from files or the service only ever becomes text.

/** An element with properties (`dataset` and `aria` are objects, `class` a name) and children. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  const { class: name, dataset, aria, ...others } = properties;
  if (name) made.className = name;
  Object.assign(made.dataset, dataset);
  for (const [attribute, value] of Object.entries(aria ?? {})) made.setAttribute(`aria-${attribute}`, value);
  Object.assign(made, others);
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** An element of a drawing, with its attributes. */
export function svg(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** A button that does something. */
export function button(text, action, properties = {}) {
  const made = element("button", { type: "button", ...properties }, text);
  made.addEventListener("click", () => action(made));
  return made;
}

/** Text for screen readers alone. */
export function unseen(text) {
  return element("span", { class: "unseen" }, text);
}

/** Says something to people who do not see the page. */
export function announce(text) {
  document.getElementById("announcer").textContent = text;
}
