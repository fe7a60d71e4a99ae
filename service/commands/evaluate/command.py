"""``abinet eval``: word accuracy of a checkpoint, a bundle or a running service on labelled crops."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.data.sets.folders import SetPath
    from models.evaluation.reading import CropReader
    from models.evaluation.scoring import SetScore
    from service.commands.evaluate.lexicons import LexiconScore


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    source = parser.add_argument(
        "source", metavar="SOURCE", help="NAME.ckpt, a bundle's folder, or the URL of a running service"
    )
    sets = parser.add_argument(
        "sets", type=Path, nargs="+", metavar="SETS", help="a set (LMDB or label file), or folders of sets"
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="YAML",
        action=_instead_of(source, sets),
        help="take eval.ckpt_load_path and eval.dataset.{dataset_root, data_dir} for SOURCE and SETS",
    )
    parser.add_argument(
        "--turns",
        choices=("auto", "none", "all"),
        default="auto",
        help="ways up: auto turns tall crops, all every crop (default: auto)",
    )
    parser.add_argument("--limit", type=_positive, metavar="N", help="only the first N crops of each set")
    parser.add_argument(
        "--labels",
        choices=("abinet-ascend", "official", "mindocr"),
        default="abinet-ascend",
        help="whose labels: this project's fold accents (NFKD), the others drop such letters; mindocr also"
        " cuts long labels and counts empty ones",
    )
    parser.add_argument(
        "--lexicons",
        type=Path,
        metavar="FILE",
        help="also choose each crop's word from its own list (IIIT5k-50, -1k, SVT-50): JSON lines of set, "
        "number and words; for a bundle or a service",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table as Markdown")
    parser.add_argument("--errors", type=Path, metavar="PNG", help="write a sheet of the worst errors")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the reliability diagram")
    bundle = parser.add_argument_group("what runs a bundle, as abinet serve has it")
    bundle.add_argument("--engine", help="mindspore or lite")
    bundle.add_argument("--worker-python", metavar="PYTHON", help="interpreter of the engine worker")
    bundle.add_argument("--devices", help="cpu, or numbers of Ascend cards such as 0,1")


def run(args: argparse.Namespace) -> int:
    """Prints and writes what was asked for; returns the exit code."""
    from tqdm import tqdm

    from abinet_client.batch.flags import serve_options
    from models.data.sets.folders import find_sets, open_set
    from models.data.sets.samples import LABELS_OF
    from models.evaluation.files import check_folders
    from models.evaluation.report import in_field_order
    from models.evaluation.scoring import score_set
    from service.commands.evaluate.lexicons import Lexicons
    from service.commands.evaluate.service_reader import ServiceReader
    from service.commands.evaluate.sources import open_reader

    if args.config and (args.source or args.sets):
        raise ValueError("--config names the checkpoint and the sets itself; leave out SOURCE and SETS")
    lexicons = Lexicons(args.lexicons) if args.lexicons else None
    fold = LABELS_OF[args.labels]
    source, roots = _of_config(args.config) if args.config else (args.source, args.sets)
    paths = find_sets(roots)
    check_folders(args.markdown, args.errors, args.plot)
    samples = sum(min(len(open_set(path)), args.limit or sys.maxsize) for path in paths)
    # Without a terminal there is no bar.
    with (
        open_reader(source, serve_options(args), args.turns) as reader,
        tqdm(total=samples, disable=None) as bar,
    ):
        if lexicons and not isinstance(reader, ServiceReader):
            raise ValueError(
                f"--lexicons needs a bundle or a service: make one of {source} with abinet export"
            )
        scores = in_field_order([score_set(reader, path, args.limit, bar.update, fold) for path in paths])
        chosen = [
            lexicons.score(reader, path, args.limit)
            for path in paths
            if lexicons and isinstance(reader, ServiceReader)
        ]
    _write_files(args, reader, scores)
    print(_printed(reader, scores, chosen if lexicons else None, as_json=args.json))
    return 0


def _write_files(args: argparse.Namespace, reader: CropReader, scores: Sequence[SetScore]) -> None:
    from models.evaluation.files import write
    from models.evaluation.report import markdown_reliability, markdown_table, reliability_of

    if args.markdown:
        trust = markdown_reliability(reader.calibrated, reliability_of(scores))
        write(args.markdown, f"{markdown_table(reader, scores)}\n{trust}".encode())
    if args.errors:
        write(args.errors, _error_png(reader.model, scores))
    if args.plot:
        write(args.plot, _diagram(reader.model, scores))


def _printed(
    reader: CropReader, scores: Sequence[SetScore], chosen: Sequence[LexiconScore] | None, *, as_json: bool
) -> str:
    """`chosen` is None if no lexicons were given."""
    from models.evaluation.report import reliability_of, text_reliability, text_table, to_json

    if as_json:
        document = to_json(reader, scores)
        if chosen is not None:
            document["lexicons"] = [score._asdict() for score in chosen]
        return json.dumps(document, indent=2)
    trust = text_reliability(reader.calibrated, reliability_of(scores))
    return "\n\n".join([text_table(reader, scores), trust, *map(str, chosen or [])])


def _instead_of(*positionals: argparse.Action) -> type[argparse.Action]:
    """An action that stores its value and makes the positional arguments needless."""

    class Instead(argparse.Action):
        def __call__(
            self,
            parser: argparse.ArgumentParser,
            namespace: argparse.Namespace,
            values: Any,
            option: Any = None,
        ) -> None:
            setattr(namespace, self.dest, values)
            for positional in positionals:
                positional.required = False

    return Instead


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of 1 or more")
    return int(text)


def _of_config(path: Path) -> tuple[str, list[SetPath]]:
    """The checkpoint and the sets that a recipe's ``eval`` section names, this project's or MindOCR's."""
    from models.training.recipe import Eval

    section = Eval.from_yaml(path)
    if section.ckpt_load_path is None or section.dataset.dataset_root is None:
        raise ValueError(
            f"{path}: needs eval.ckpt_load_path and eval.dataset.dataset_root, and may have "
            "eval.dataset.data_dir, folders below it, and label_file"
        )
    return str(section.ckpt_load_path), section.dataset.roots


def _error_png(model: str, scores: Sequence[SetScore]) -> bytes:
    import cv2

    from models.evaluation.error_sheet import error_sheet

    sheet = error_sheet(model, [mistake for score in scores for mistake in score.mistakes])
    _, encoded = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    return encoded.tobytes()


def _diagram(model: str, scores: Sequence[SetScore]) -> bytes:
    import numpy as np

    from models.evaluation.reliability_diagram import draw
    from models.evaluation.report import reliability_of

    confidence = np.array([outcome.confidence for score in scores for outcome in score.outcomes])
    return draw(model, reliability_of(scores), confidence)
