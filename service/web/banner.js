// The one message about a service that is away, above all the crops that wait for it.

const at = (id) => document.getElementById(id);

/** `failure`: why; `waiting`: how many crops wait. */
export function showBanner({ title, detail }, waiting) {
  const crops = waiting === 1 ? "One crop waits and is" : `${waiting} crops wait and are`;
  const text = `${crops} read as soon as it is back.`;
  at("banner-title").textContent = `${title}.`;
  // A live region is read out again whenever it is written.
  if (at("banner-text").textContent !== text) at("banner-text").textContent = text;
  at("banner").title = detail;
  at("banner").hidden = false;
}

export function hideBanner() {
  at("banner").hidden = true;
}
