// The form for an API key, where the service asks for one.

import { key } from "./service.js";

const at = (id) => document.getElementById(id);

/** `use()` is called with a new key in place. */
export function listenForKey(use) {
  at("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    key.set(at("key").value.trim());
    at("key-form").hidden = true;
    at("key").value = "";
    at("choose").focus();
    use();
  });
  at("forget").addEventListener("click", () => {
    key.forget();
    askForKey();
  });
}

/** Shows the form, if it is not there already. */
export function askForKey() {
  at("forget").hidden = true;
  if (!at("key-form").hidden) return;
  at("key-note").textContent = key.get()
    ? "The service does not know this key. Enter another one."
    : "It stays in this tab and is forgotten when the tab closes.";
  at("key-form").hidden = false;
  at("key").focus({ preventScroll: true });
  at("key-form").scrollIntoView({ block: "nearest" });
}

/** The service has answered: a key, where there is one, was right. */
export function keyIsGood() {
  at("key-form").hidden = true;
  at("forget").hidden = !key.get();
}
