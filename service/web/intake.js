// Files from the picker, from a drop anywhere on the page, and from the clipboard.

/** Calls `take(files, folders)` with what a person gives the page; `folders` counts what cannot be opened. */
export function listen(picker, take) {
  picker.addEventListener("change", () => {
    take([...picker.files], 0);
    picker.value = ""; // the same file may be chosen again
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    take(files, 0);
  });
  listenToDrops(take);
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
  document.addEventListener("drop", (event) => {
    mark(false);
    if (!hasFiles(event)) return;
    event.preventDefault();
    const { files, items } = event.dataTransfer;
    const isFolder = [...items].map((item) => item.webkitGetAsEntry?.()?.isDirectory ?? false);
    const kept = [...files].filter((_, place) => !isFolder[place]);
    take(kept, files.length - kept.length);
  });
}
