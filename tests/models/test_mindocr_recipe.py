"""MindOCR's configuration file: what it becomes, what is said, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from models.training.recipe import Eval, Recipe
from models.training.schedules import Schedule
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
        ({"scheduler__scheduler": "one_cycle"}, "scheduler: Input should be 'constant', 'cosine_decay'"),
        ({"scheduler__scheduler": "multi_step_decay"}, "multi_step_decay needs milestones"),
        ({"scheduler__warmup_epochs": 11}, "warmup_epochs is more than the stage's 10 epochs"),
        ({"optimizer__opt": "lion"}, "optimizer.opt lion: write adam, adamw, sgd, momentum"),
        ({"optimizer__nesterov": True}, "nesterov goes with sgd, not with adam"),
        ({"optimizer__grouping_strategy": "visionlan"}, "optimizer.grouping_strategy visionlan: only biases"),
        ({"train__gradient_accumulation_steps": 4}, "train.gradient_accumulation_steps 4: write 1"),
        ({"train__dataset__sample_ratio": 0.5}, "train.dataset.sample_ratio 0.5"),
        ({"model__backbone__name": "rec_vgg7"}, "model.backbone.name rec_vgg7: ABINet alone"),
        (
            {"train__dataset__transform_pipeline": [{"DecodeImage": None}]},
            "DecodeImage: crops are prepared as",
        ),
        ({"train__dataset__transform_pipeline": 5}, "transform_pipeline: 5: crops are prepared as"),
        ({"optimizer__no_weight_decay_params": 5}, "optimizer.no_weight_decay_params 5: only biases"),
        ({"eval__dataset": [1, 2]}, "eval.dataset [1, 2]: is a section, with keys of its own"),
        ({"train": None}, "train None: is a section, with keys of its own"),
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
    with pytest.raises(ValueError, match=r"sample_ratio 0.5: .*; optimizer\.opt lion: "):
        read(changed(optimizer__opt="lion", train__dataset__sample_ratio=0.5), tmp_path)


@pytest.mark.parametrize(
    ("named", "meant"), [("adamW", "adamw"), ("Adam", "adam"), ("SGD", "sgd"), ("momentum", "sgd")]
)
def test_optimizers_have_mindocrs_names(named: str, meant: str, tmp_path: Path) -> None:
    weights(tmp_path)
    given = {"opt": named, "weight_decay": 0.05, "momentum": 0.95, "filter_bias_and_bn": False}
    recipe, _ = read(changed(optimizer=given), tmp_path)
    optimizer = recipe.train.optimizer
    assert (optimizer.opt, optimizer.momentum, optimizer.filter_bias_and_bn) == (meant, 0.95, False)
    assert recipe.train.weight_decay == 0.05


def test_svtrs_groups_spare_biases_and_norms(tmp_path: Path) -> None:
    weights(tmp_path)
    given = {"opt": "adamw", "weight_decay": 0.05, "filter_bias_and_bn": False, "grouping_strategy": "svtr"}
    assert read(changed(optimizer=given), tmp_path)[0].train.optimizer.filter_bias_and_bn


def test_gradients_are_clipped_only_if_the_file_says_so(tmp_path: Path) -> None:
    weights(tmp_path)
    assert read(changed(train__clip_grad=False), tmp_path)[0].train.clip_norm == math.inf
    values = changed()
    del values["train"]["clip_norm"]
    assert read(values, tmp_path)[0].train.clip_norm == 1.0


def test_a_key_that_is_left_out_has_mindocrs_default(tmp_path: Path) -> None:
    weights(tmp_path)
    values = changed(scheduler={"scheduler": "warmup_cosine_decay", "lr": "1e-4", "num_epochs": 15})
    del values["system"]["amp_level"]
    recipe, _ = read(values, tmp_path)
    rates = recipe.train.stages[0].learning_rates(150)
    assert rates[0] == 0.0
    assert rates[30] == max(rates) == 1e-4
    assert rates[80] == pytest.approx((1e-4 + 1e-6) / 2)
    assert set(rates[130:]) == {1e-6}
    assert recipe.system.amp_level == "O0"


def test_other_keys_of_mindocrs_recipes_are_honoured_or_without_effect(tmp_path: Path) -> None:
    weights(tmp_path)
    values = changed(
        train__ema=True,
        train__ema_decay=0.999,
        common__lower=True,
        loss_scaler={"type": "dynamic", "loss_scale": 512, "scale_factor": 2.0, "scale_window": 1000},
        predict={"ckpt_load_path": "./tmp_rec/best.ckpt", "loader": {"batch_size": 2}},
    )
    recipe, said = read(values, tmp_path)
    assert recipe.train.average == 0.999
    (line,) = [one for one in said if "not used here" in one]
    assert "common.lower" in line
    assert "predict.loader.batch_size" in line
    assert "loss_scaler.scale_window" in line
    assert "train.ema" not in line


def test_evaluation_finds_sets_without_a_root_as_training_does(tmp_path: Path) -> None:
    path = tmp_path / "mindocr.yaml"
    given = {"dataset_root": None, "data_dir": ["/sets/SVT", "/sets/CUTE80"], "label_file": None}
    path.write_text(yaml.safe_dump(changed(eval__dataset=given)))
    assert list(map(str, Eval.from_yaml(path).dataset.roots)) == given["data_dir"]


@pytest.mark.parametrize(
    ("keys", "rates"),  # of epochs 0, 1, ..., 7, as MindOCR's create_scheduler makes them
    [
        ({"scheduler": "constant"}, [0.0, 0.5, 1, 1, 1, 1, 1, 1]),
        ({"scheduler": "constant", "warmup_factor": 0.2}, [0.2, 0.6, 1, 1, 1, 1, 1, 1]),
        ({"scheduler": "step_decay", "decay_epochs": 3, "decay_rate": 0.1}, [0, 0.5, 1, 1, 1, 0.1, 0.1, 0.1]),
        (
            {"scheduler": "multi_step_decay", "milestones": [4, 1], "decay_rate": 0.5},
            [0, 0.5, 1, 0.5, 0.5, 0.5, 0.25, 0.25],
        ),
        (
            {"scheduler": "exponential_decay", "decay_rate": 0.5},
            [0, 0.5, 1, 0.5, 0.25, 0.125, 0.0625, 0.03125],
        ),
        ({"scheduler": "polynomial_decay", "decay_rate": 1.0}, [0, 0.5, 1, 5 / 6, 4 / 6, 0.5, 2 / 6, 1 / 6]),
        (
            {
                "scheduler": "cosine_decay",
                "decay_epochs": 2,
                "min_lr": 0.0,
                "num_cycles": 2,
                "cycle_decay": 0.5,
            },
            [0, 0.5, 1, 0.5, 0.5, 0.25, 0, 0],
        ),
    ],
    ids=lambda value: value["scheduler"] if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("stair", [False, True])
def test_schedulers_have_mindocrs_rates_and_count_from_the_warm_up(
    stair: bool, keys: dict[str, Any], rates: list[float]
) -> None:
    schedule = Schedule.model_validate({"warmup_epochs": 2, "lr_epoch_stair": stair, **keys})
    made = schedule.rates(2.0, 8, 80)
    assert made[::10] == pytest.approx([2.0 * rate for rate in rates])
    if stair:
        assert all(made[step] == made[step - step % 10] for step in range(80))
