"""The lists of IIIT5k-50, IIIT5k-1k and SVT-50 for `abinet eval --lexicons`, from the files of these sets.

    python benchmarks/field_lexicons.py IIIT5K/testdata.mat > iiit5k_50.jsonl
    python benchmarks/field_lexicons.py IIIT5K/testdata.mat --lexicon medium > iiit5k_1k.jsonl
    python benchmarks/field_lexicons.py svt1/test.xml > svt_50.jsonl

`testdata.mat` has a struct array `testdata` with a row for each crop: ImgName, GroundTruth, smallLexi (50
words) and mediumLexi (1,000). `test.xml` has `<lex>` with commas for each image, and a
`<tag>` for each of its words.
"""

from __future__ import annotations

import argparse
import json
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def of_iiit5k(path: Path, lexicon: str) -> Iterator[tuple[str, list[str]]]:
    """Of each crop its label and the words of its lexicon, `small` or `medium`. Raises ValueError."""
    from scipy.io import loadmat

    content = loadmat(str(path), simplify_cells=True)
    field = f"{lexicon}Lexi"
    for row in content.get("testdata", ()):
        yield str(row["GroundTruth"]), [str(word) for word in row[field]]


def of_svt(path: Path) -> Iterator[tuple[str, list[str]]]:
    """The same of SVT: the words of an image have one lexicon."""
    for image in ElementTree.parse(path).getroot().iter("image"):
        words = [word.strip() for word in (image.findtext("lex") or "").split(",")]
        for tag in image.iter("tag"):
            yield (tag.text or "").strip(), [word for word in words if word]


def main(arguments: list[str] | None = None) -> int:
    """Writes the lines; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, help="testdata.mat of IIIT5K, or test.xml of SVT")
    parser.add_argument("--lexicon", choices=("small", "medium"), default="small", help="of IIIT5K")
    args = parser.parse_args(arguments)
    lists = of_svt(args.file) if args.file.suffix == ".xml" else of_iiit5k(args.file, args.lexicon)
    lines: list[dict[str, Any]] = [
        {"number": number, "label": label, "words": words} for number, (label, words) in enumerate(lists)
    ]
    if not lines:
        print(f"{args.file}: neither IIIT5K's testdata.mat nor SVT's test.xml", file=sys.stderr)
        return 2
    for line in lines:
        print(json.dumps(line, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
