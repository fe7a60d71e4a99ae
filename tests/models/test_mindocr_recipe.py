"""MindOCR's configuration file: what it becomes, what is said, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from models.training.recipe import Recipe
from tests.support.mindocr_file import mindocr_file

pytestmark = pytest.mark.slow


def read(values: Any, folder: Path) -> tuple[Recipe, list[str]]:
    path = folder / "abinet_resnet45_en.yaml"
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values))
    return Recipe.read(path)


def changed(**changes: Any) -> dict[str, Any]:
    """The file with some keys, with dots, changed; None removes one."""
    values: dict[str, Any] = yaml.safe_load(mindocr_file())
    for name, value in changes.items():
        *sections, key = name.split("__")
        section = values
        for one in sections:
            section = section[one]
        section[key] = value
    return values


def weights(folder: Path) -> None:
    (folder / "abinet_pretrain_en-821ca20b.ckpt").write_bytes(b"weights")


def test_mindocrs_file_is_its_recipe(tmp_path: Path) -> None:
    weights(tmp_path)
    recipe, _ = read(mindocr_file(), tmp_path)
    (stage,) = recipe.train.stages
    assert (stage.stage, stage.lr, stage.epochs, stage.batch_size) == ("joint", 1e-5, 10, 96)
    rates = stage.learning_rates(1000)
    assert rates[0] == rates[599] == 1e-5
    assert rates[600] == rates[-1] == pytest.approx(1e-6)
    assert recipe.network == "abinet_resnet45_en"
    assert recipe.system.distribute
    assert recipe.system.seed == 42
    assert (recipe.train.clip_norm, recipe.train.log_interval, recipe.train.val_epochs) == (20.0, 100, 1)
    assert recipe.train.ckpt_save_dir == Path("tmp_rec")
    assert recipe.train.dataset.augment == "all"
    sets = [
        f"path/to/data_lmdb_release/train/{name}"
        for name in ("MJ/MJ_test", "MJ/MJ_train", "MJ/MJ_valid", "ST")
    ]
    assert [str(root) for root in recipe.train.dataset.roots] == sets
    assert [str(root) for root in recipe.eval.dataset.roots] == ["path/to/data_lmdb_release/evaluation"]
    assert recipe.eval.ckpt_load_path == Path("tmp_rec/best.ckpt")
    assert not recipe.model.shrink_by_area


def test_what_changes_nothing_is_said_once(tmp_path: Path) -> None:
    weights(tmp_path)
    _, said = read(mindocr_file(), tmp_path)
    (line,) = [one for one in said if "not used here" in one]
    for key in (
        "system.mode",
        "train.dataset_sink_mode",
        "train.dataset.output_columns",
        "train.loader.max_rowsize",
    ):
        assert key in line
    assert "system.amp_level" not in line


def test_weights_that_are_an_address_are_looked_for_by_their_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a training downloads nothing; get the file"):
        read(mindocr_file(), tmp_path)
    weights(tmp_path)
    recipe, said = read(mindocr_file(), tmp_path)
    assert recipe.model.pretrained == tmp_path / "abinet_pretrain_en-821ca20b.ckpt"
    assert any("is taken for https://" in line for line in said)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {"scheduler__scheduler": "polynomial_decay"},
            "scheduler.scheduler polynomial_decay: write step_decay",
        ),
        ({"optimizer__opt": "sgd"}, "optimizer.opt sgd: the method's is Adam"),
        ({"optimizer__weight_decay": 0.1}, "optimizer.weight_decay 0.1 with adam is added to the gradients"),
        ({"train__clip_grad": False}, "train.clip_grad False: gradients are always clipped"),
        ({"train__gradient_accumulation_steps": 4}, "train.gradient_accumulation_steps 4: write 1"),
        ({"train__dataset__sample_ratio": 0.5}, "train.dataset.sample_ratio 0.5"),
        ({"model__backbone__name": "rec_vgg7"}, "model.backbone.name rec_vgg7: ABINet alone"),
        (
            {"train__dataset__transform_pipeline": [{"DecodeImage": None}]},
            "DecodeImage: crops are prepared as",
        ),
        ({"train__dataset__type": "RecDataset"}, "train.dataset.type RecDataset needs label_file"),
        ({"common__infer_mode": 0}, "common.infer_mode 0: a training; write False"),
        ({"train__speed": 3}, "train.speed: not known here"),
        ({"scheduler__lr": None}, "scheduler.lr is missing"),
    ],
)
def test_what_would_change_the_result_is_refused_with_what_to_write(
    changes: dict[str, Any], fault: str, tmp_path: Path
) -> None:
    weights(tmp_path)
    with pytest.raises(ValueError, match=r"abinet_resnet45_en\.yaml: ") as error:
        read(changed(**changes), tmp_path)
    assert fault in str(error.value)
    assert "\n" not in str(error.value)


def test_all_that_is_not_honoured_is_said_together(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"optimizer\.opt sgd.*train\.clip_grad False|train\.clip_grad.*optimizer"
    ):
        read(changed(optimizer__opt="sgd", train__clip_grad=False), tmp_path)


def test_adamw_decays_as_it_says(tmp_path: Path) -> None:
    weights(tmp_path)
    recipe, _ = read(changed(optimizer__opt="adamw", optimizer__weight_decay=0.05), tmp_path)
    assert recipe.train.weight_decay == 0.05
