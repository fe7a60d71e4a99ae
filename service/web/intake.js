// Files from the pickers, from a drop anywhere on the page, and from the clipboard.

import { filesOf, pictures } from "./folders.js";

/** Calls `take(crops, others)`: each has a `blob` and a `name`; `others` counts files of folders that are no pictures. */
export function listen(picker, folderPicker, take) {
  picker.addEventListener("change", () => {
    take([...picker.files].map(named), 0);
    picker.value = ""; // the same file may be chosen again
  });
  folderPicker.addEventListener("change", () => {
    take(...pictures([...folderPicker.files].map((blob) => ({ blob, name: blob.webkitRelativePath }))));
    folderPicker.value = "";
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    take(files.map(named), 0);
  });
  listenToDrops(take);
}

function named(blob) {
  return { blob, name: blob.name || "pasted.png" };
}

function listenToDrops(take) {
  const mark = (dragging) => document.body.classList.toggle("dragging", dragging);
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    mark(true);
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) mark(false);
  });
  document.addEventListener("drop", async (event) => {
    mark(false);
    if (!hasFiles(event)) return;
    event.preventDefault();
    take(...(await filesOf(event.dataTransfer)));
  });
}
