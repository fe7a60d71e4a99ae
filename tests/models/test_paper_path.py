"""The paper's path in miniature, as a user of MindOCR walks it.

LMDB sets in the field's layout, MindOCR's file with only its paths and its number of workers changed, and
its pretrained weights; two processes, a kill, a resume, and the field's table.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import lmdb
import mindspore as ms
import numpy as np
import pytest

from models.abinet.abinet import ABINet
from models.checkpoints.checkpoint import read_parameters
from models.checkpoints.importers import from_mindocr
from models.data.rendering.fonts import find_fonts
from models.data.rendering.renderer import WordRenderer
from models.data.rendering.words import SHARED_WORDS, WordSampler
from service.cli import main
from tests.support import distributed
from tests.support.drawn_fonts import made_up_words
from tests.support.foreign_checkpoints import Parameters, to_mindocr
from tests.support.mindocr_file import mindocr_file
from tests.support.tiny_training import TINY

pytestmark = pytest.mark.slow

TRAINING = ("MJ/MJ_train", "MJ/MJ_valid", "MJ/MJ_test", "ST")
EVALUATION = ("CUTE80", "SVT")
CROPS = 20


def crops(fonts: list[Path]) -> Iterator[tuple[bytes, str]]:
    words = WordSampler(((word, 1.0) for word in made_up_words(SHARED_WORDS + 500)), "train")
    renderer = WordRenderer(find_fonts([fonts[0].parent]), words, 1, "train")
    for number in range(10**9):
        crop = renderer.render(number)
        yield cv2.imencode(".jpg", cv2.cvtColor(crop.image, cv2.COLOR_RGB2BGR))[1].tobytes(), crop.label


def write_lmdb(folder: Path, samples: Iterator[tuple[bytes, str]], count: int) -> None:
    folder.mkdir(parents=True)
    environment = lmdb.open(str(folder), map_size=1 << 24)
    with environment.begin(write=True) as transaction:
        for number in range(1, count + 1):
            image, label = next(samples)
            transaction.put(b"image-%09d" % number, image)
            transaction.put(b"label-%09d" % number, label.encode())
        transaction.put(b"num-samples", str(count).encode())
    environment.close()


@pytest.fixture
def data(fonts: list[Path], tmp_path: Path) -> Path:
    samples, root = crops(fonts), tmp_path / "data_lmdb_release"
    for name in TRAINING:
        write_lmdb(root / "train" / name, samples, CROPS)
    for name in EVALUATION:
        write_lmdb(root / "evaluation" / name, samples, 8)
    return root


@pytest.fixture
def pretrained(tmp_path: Path) -> Path:
    ms.set_seed(7)
    native: Parameters = {p.name: p.asnumpy() for p in ABINet(TINY).get_parameters()}
    stored = [
        {"name": n, "data": ms.Tensor(np.ascontiguousarray(v))} for n, v in to_mindocr(native, TINY).items()
    ]
    ms.save_checkpoint(stored, str(tmp_path / "abinet_pretrain_en.ckpt"))
    return tmp_path / "abinet_pretrain_en.ckpt"


def test_a_user_of_mindocr_trains_is_killed_goes_on_and_gets_the_table(
    data: Path, pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, run = tmp_path / "abinet_resnet45_en.yaml", tmp_path / "tmp_rec"
    config.write_text(
        mindocr_file(
            pretrained=str(pretrained),
            train_root=f"{data}/train/",
            eval_root=f"{data}/",
            folder=str(run),
            workers=1,
        )
    )
    logs = [tmp_path / "killed", tmp_path / "resumed"]
    assert distributed.run(2, logs[0], "train", f"--config={config}", KILLED_AT="2") != 0
    assert "not used here: " in distributed.said(logs[0], 0)
    assert f"starts from {pretrained}: MindOCR" in distributed.said(logs[0], 0)
    assert distributed.run(2, logs[1], "train", f"--config={config}") == 0
    steps = round(10 * len(TRAINING) * CROPS / (2 * 96))
    assert f"goes on from step 1 of {steps}" in distributed.said(logs[1], 0)
    rows = (run / "curves.csv").read_text().splitlines()[1:]
    assert [row.split(",")[2] for row in rows] == [str(step) for step in range(1, steps + 1)]
    capsys.readouterr()
    assert main(["eval", "--config", str(config), "--labels", "mindocr"]) == 0
    table = capsys.readouterr().out
    sets = [line.split()[0] for line in table.splitlines() if line.startswith(EVALUATION)]
    assert sets == ["SVT", "CUTE80"]
    given = from_mindocr(read_parameters(pretrained))
    assert read_parameters(run / "abinet_resnet45_en.ckpt").keys() == given.keys()
