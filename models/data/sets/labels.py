"""Crops that a label file names: the one reader of such files for training, evaluation and packing.

The forms of the lines are `abinet_client.batch.label_files`', which `abinet read --labels` reads too.
"""

from __future__ import annotations

from pathlib import Path

from abinet_client.batch.label_files import LabelFile
from models.data.sets.samples import UnusableSample

LABEL_FILES = (
    "labels.tsv",
    "labels.csv",
    "labels.txt",
    "labels.jsonl",
    "label.txt",
    "gt.txt",
    "metadata.csv",
    "metadata.jsonl",
)
"""Names by which a folder's label file is found; of several in one folder the first counts."""


class LabelledFolder:
    """Reads the images that a label file names (see `LabelFile`), relative to ``root`` if that is given.

    Raises: ValueError if it is no label file, OSError if it cannot be read.
    """

    def __init__(self, table: Path, root: Path | None = None) -> None:
        self._labels = LabelFile(str(table), None if root is None else str(root))
        self._folder = Path(self._labels.root)
        self._made_of = table, self._folder

    def __reduce__(self) -> tuple[type[LabelledFolder], tuple[Path, Path]]:
        return LabelledFolder, self._made_of

    def __len__(self) -> int:
        return len(self._labels)

    def read(self, index: int) -> tuple[bytes, str]:
        """The image file's bytes and the text of label ``index``, 0..len-1.

        Raises: UnusableSample, "no image" if the file cannot be read, "no label" if there is no text.
        """
        name, text = self._labels[index]
        if text is None:
            raise UnusableSample("no label")
        try:
            return (self._folder / name).read_bytes(), text
        except (OSError, ValueError):
            raise UnusableSample("no image") from None


def label_file_in(folder: Path) -> Path | None:
    """The label file of a folder, None if it has none."""
    return next((folder / name for name in LABEL_FILES if (folder / name).is_file()), None)
