"""MindOCR's configuration file as a recipe: every key is honoured, reported as unused, or refused."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from models.training.schedules import Schedule

#: MindOCR's default folder of checkpoints and curves.
FOLDER = "./tmp_rec"

DATASET = ("dataset_root", "data_dir", "label_file")

#: Keys of ``optimizer`` that recipes have under the same names.
OPTIMIZER = ("beta1", "beta2", "momentum", "nesterov", "filter_bias_and_bn")

HONOURED = {
    "system.distribute", "system.amp_level", "system.seed", "system.log_interval", "system.val_while_train",
    "system.val_interval", "system.drop_overflow_update", "common.batch_size", "model.pretrained",
    "scheduler.lr", "scheduler.num_epochs", *(f"scheduler.{key}" for key in Schedule.model_fields),
    "optimizer.opt", *(f"optimizer.{key}" for key in ("weight_decay", *OPTIMIZER)),
    "optimizer.grouping_strategy", "optimizer.no_weight_decay_params",
    "train.clip_grad", "train.clip_norm", "train.ema", "train.ema_decay", "train.ckpt_save_dir",
    "train.dataset.type", "train.dataset.dataset_root", "train.dataset.data_dir",
    "train.dataset.label_file", "train.dataset.transform_pipeline", "train.loader.batch_size",
    "train.loader.num_workers", "eval.ckpt_load_path", "eval.dataset.type", "eval.dataset.dataset_root",
    "eval.dataset.data_dir", "eval.dataset.label_file", "eval.dataset.transform_pipeline",
    "eval.loader.batch_size",
}  # fmt: skip

#: Keys that do not affect the weights here: how MindOCR passes data on, compiles, prints and keeps files.
UNUSED = {
    "system.mode", "system.refine_batch_size", "system.ckpt_save_policy", "system.ckpt_max_keep",
    "system.val_start_epoch", "system.start_epoch", "system.device_id", "system.cache",
    "system.amp_level_infer", "train.max_call_depth", "optimizer.eps", "optimizer.loss_scale",
    "loss_scaler.loss_scale", "loss_scaler.scale_factor", "loss_scaler.scale_window",
    "model.backbone.batchsize", "model.head.batchsize", "model.backbone.pretrained_backbone",
    "metric.print_flag", "metric.device_num", "metric.character_dict_path", "metric.ignore_space",
    "train.dataset_sink_mode", "train.pred_cast_fp32", "train.dataset.output_columns",
    "train.dataset.check_rec_image", "train.dataset.net_input_column_index",
    "train.dataset.label_column_index", "train.dataset.random_choice_if_none",
    "train.loader.drop_remainder", "train.loader.max_rowsize", "train.loader.shuffle",
    "eval.dataset_sink_mode", "eval.pred_cast_fp32", "eval.dataset.output_columns",
    "eval.dataset.check_rec_image", "eval.dataset.net_input_column_index", "eval.dataset.label_column_index",
    "eval.dataset.shuffle", "eval.dataset.filter_max_len", "eval.dataset.max_text_len",
    "eval.dataset.filter_zero_text_image", "eval.dataset.random_choice_if_none", "eval.loader.shuffle",
    "eval.loader.drop_remainder", "eval.loader.max_rowsize", "eval.loader.num_workers",
}  # fmt: skip

#: Keys that only the file itself refers to, by YAML's anchors, or that another command of MindOCR reads.
UNUSED_SECTIONS = ("common.", "predict.")

#: MindOCR's names of the optimizers, and the keys that go with them.
OPTIMIZERS = {"adam": "adam", "adamw": "adamw", "sgd": "sgd", "momentum": "sgd", "nesterov": "sgd"}
#: Values that mean, for this network, that biases and norms are not decayed.
NORMS_SPARED = ("svtr", "filter_norm_and_bias", "beta gamma bias")

#: The values that this project supports, and the remedy for others.
ONLY: dict[str, tuple[tuple[Any, ...], str]] = {
    "common.character_dict_path": ((None,), "ABINet's own 36 characters, in its order; leave it empty"),
    "common.num_classes": ((37,), "36 characters and the null; write 37"),
    "common.max_text_len": ((25,), "the network's length; write 25"),
    "common.infer_mode": ((False,), "a training; write False"),
    "common.use_space_char": ((False,), "the charset has no space; write False"),
    "model.type": (("rec",), "recognition; write rec"),
    "model.name": (("abinet",), "write abinet"),
    "model.transform": ((None,), "ABINet has none; write null"),
    "model.backbone.name": (("abinet_backbone",), "ABINet alone is trained here; write abinet_backbone"),
    "model.backbone.pretrained": ((False,), "weights are named by model.pretrained; write False"),
    "model.resume": ((False, True), ""),
    "train.resume": ((False, True), ""),
    "model.head.name": (("ABINetHead",), "ABINet alone is trained here; write ABINetHead"),
    "postprocess.name": (("ABINetLabelDecode",), "write ABINetLabelDecode"),
    "postprocess.character_dict_path": ((None,), "leave it empty"),
    "metric.name": (("RecMetric",), "write RecMetric"),
    "metric.main_indicator": (("acc",), "the best checkpoint is the one that reads most words; write acc"),
    "metric.filter_ood": (
        (False,),
        "labels are filtered as they are read; for MindOCR's numbers: abinet eval --labels mindocr",
    ),
    "metric.lower": ((True,), "the charset has no capitals; write True"),
    "metric.ignore_symbol": ((False, True), ""),
    "loss.name": (("ABINetLoss",), "write ABINetLoss"),
    "train.gradient_accumulation_steps": ((1,), "write 1 and a larger batch"),
    "train.dataset.sample_ratio": ((1, 1.0), "an epoch is all samples; write 1.0 and fewer epochs"),
    "train.dataset.shuffle": ((True,), "samples are always shuffled; write True"),
    "train.dataset.filter_max_len": ((True,), "labels that are too long are never trained on; write True"),
    "train.dataset.max_text_len": ((25,), "the network's length; write 25"),
    "train.dataset.filter_zero_text_image": ((True,), "crops without a label are left out; write True"),
    "train.dataset.label_standandize": ((False, True), ""),
    "train.dataset.extra_count_if_repeat": ((False,), "that is for CTC; write False"),
    "eval.dataset.sample_ratio": ((1, 1.0), "all samples count; write 1.0"),
    "loss_scaler.type": ((None, "static", "dynamic"), ""),
}

TRANSFORMS = {
    "train": ("ABINetTransforms", "ABINetRecAug"),
    "eval": ("ABINetEvalTransforms", "ABINetEval"),
}
TYPES = ("LMDBDataset", "RecDataset")


class NotHonouredError(ValueError):
    """Keys that would change the result and are not honoured; one line with what to write instead."""


def is_mindocr(values: Any) -> bool:
    """Whether a file is MindOCR's, which has sections that this project's recipes do not have."""
    sections = {"scheduler", "optimizer", "postprocess", "loss", "metric"}
    return isinstance(values, Mapping) and "network" not in values and not sections.isdisjoint(values)


def translated(values: Mapping[str, Any], path: Path) -> tuple[dict[str, Any], list[str]]:
    """The recipe in a file of MindOCR's, and the lines to print about it.

    Raises:
        NotHonouredError: names every key that is not honoured, and why.
    """
    flat = dict(_leaves(values))
    _refuse(flat)
    workers = flat.get("train.loader.num_workers")
    batch = flat.get("train.loader.batch_size", flat.get("common.batch_size"))
    folder = flat.get("train.ckpt_save_dir") or FOLDER
    pretrained, said = _pretrained(flat.get("model.pretrained"), path, Path(str(folder)))
    stage = {
        "stage": "joint",
        "epochs": flat.get("scheduler.num_epochs"),
        "lr": flat.get("scheduler.lr"),
        "scheduler": _given(flat, "scheduler", *Schedule.model_fields),
    }
    average = {}
    if flat.get("train.ema"):
        average = {"average": flat.get("train.ema_decay", 0.9999)}
        said.append("train.ema: at first the average follows the weights more slowly here (docs/training.md)")
    recipe = {
        "network": "abinet_resnet45_en",
        "model": {"pretrained": pretrained, "shrink_by_area": False},
        "system": {
            "amp_level": "O0",
            **_given(
                flat, "system", "distribute", "amp_level", "seed", "val_while_train", "drop_overflow_update"
            ),
        },
        "common": {"batch_size": batch},
        "train": {
            "ckpt_save_dir": folder,
            "optimizer": _optimizer(flat),
            "weight_decay": flat.get("optimizer.weight_decay", 0.0),
            **average,
            "val_epochs": flat.get("system.val_interval", 1),
            **_given(flat, "system", "log_interval"),
            "clip_norm": flat.get("train.clip_norm", 1.0) if flat.get("train.clip_grad") else math.inf,
            "dataset": {
                **dataset(_given(flat, "train.dataset", *DATASET)),
                "augment": "ABINetRecAug" in _transforms(flat, "train"),
                **({"num_workers": workers} if workers else {}),
            },
            "stages": [stage],
        },
        "eval": {
            "ckpt_load_path": flat.get("eval.ckpt_load_path"),
            "batch_size": flat.get("eval.loader.batch_size", 64),
            "dataset": dataset(_given(flat, "eval.dataset", *DATASET)),
        },
    }
    unused = sorted(key for key in flat if _is_unused(key))
    if unused:
        said.append(f"{path}: not used here: {', '.join(unused)}")
    return recipe, said


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _refuse(flat: Mapping[str, Any]) -> None:
    faults = [_fault(key, value) for key, value in flat.items()]
    optimizer = str(flat.get("optimizer.opt", "adam")).lower()
    if optimizer not in OPTIMIZERS:
        faults.append(f"optimizer.opt {optimizer}: write {', '.join(OPTIMIZERS)}; the paper's is adam")
    for key, spared in (
        ("grouping_strategy", flat.get("optimizer.grouping_strategy")),
        ("no_weight_decay_params", _in_one(flat.get("optimizer.no_weight_decay_params"))),
    ):
        if spared and spared not in NORMS_SPARED:
            faults.append(
                f"optimizer.{key} {spared}: only biases and norms can be spared; remove it and write"
                " filter_bias_and_bn"
            )
    for part in ("train", "eval"):
        given = flat.get(f"{part}.dataset.type", TYPES[0])
        if given not in TYPES:
            faults.append(f"{part}.dataset.type {given}: write LMDBDataset, or RecDataset with label_file")
        if given == "RecDataset" and not flat.get(f"{part}.dataset.label_file"):
            faults.append(f"{part}.dataset.type RecDataset needs label_file")
        unknown = [name for name in _transforms(flat, part) if name not in TRANSFORMS[part]]
        if unknown:
            faults.append(
                f"{part}.dataset.transform_pipeline: {', '.join(unknown)}: crops are prepared as ABINet's"
                f" are; write {', '.join(TRANSFORMS[part])}"
            )
    for key in ("scheduler.lr", "scheduler.num_epochs", "system.seed"):
        if flat.get(key) is None:
            faults.append(f"{key} is missing")
    faults = [fault for fault in faults if fault]
    if faults:
        raise NotHonouredError("; ".join(faults))


def _fault(key: str, value: Any) -> str:
    if key in ONLY:
        allowed, remedy = ONLY[key]
        alike = any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in allowed)
        return "" if alike else f"{key} {value}: {remedy}"
    if key in HONOURED or _is_unused(key):
        return ""
    if any(known.startswith(f"{key}.") for known in (*HONOURED, *ONLY)):
        return f"{key} {value}: is a section, with keys of its own"
    return f"{key}: not known here; remove it if it changes nothing"


def _is_unused(key: str) -> bool:
    """Whether any value of the key that is accepted has the same effect."""
    if key in ONLY:
        return not ONLY[key][1]
    return key not in HONOURED and (key in UNUSED or key.startswith(UNUSED_SECTIONS))


def _optimizer(flat: Mapping[str, Any]) -> dict[str, Any]:
    opt = OPTIMIZERS[str(flat.get("optimizer.opt", "adam")).lower()]
    spares = flat.get("optimizer.grouping_strategy") or flat.get("optimizer.no_weight_decay_params")
    return {
        "opt": opt,
        **_given(flat, "optimizer", *OPTIMIZER),
        **({"filter_bias_and_bn": True} if spares else {}),
    }


def _in_one(names: Any) -> str:
    """Names of a list, sorted, in one text."""
    return " ".join(sorted(map(str, names if isinstance(names, list) else [names] if names else [])))


def _given(flat: Mapping[str, Any], section: str, *keys: str) -> dict[str, Any]:
    return {key: flat[f"{section}.{key}"] for key in keys if f"{section}.{key}" in flat}


def dataset(section: Mapping[str, Any]) -> dict[str, Any]:
    """Where a ``dataset`` section has its crops. MindOCR puts the root before both names, but does not need
    it; without a root, a name is a path.
    """
    given = {key: section.get(key) for key in DATASET}
    return {"dataset_root": given.pop("dataset_root") or ".", **{k: v for k, v in given.items() if v}}


def _transforms(flat: Mapping[str, Any], part: str) -> list[str]:
    pipeline = flat.get(f"{part}.dataset.transform_pipeline") or TRANSFORMS[part]
    listed = pipeline if isinstance(pipeline, (list, tuple)) else [pipeline]
    return [str(name) for one in listed for name in (one if isinstance(one, Mapping) else [one])]


def _pretrained(given: str | None, path: Path, folder: Path) -> tuple[str | None, list[str]]:
    """The file of ``model.pretrained``. Training downloads nothing: for an address, it looks for a file of
    this name beside the configuration, in the present folder and in the run's folder.

    Raises:
        NotHonouredError: it is in none of them.
    """
    if not given or "://" not in str(given):
        return given or None, []
    name = str(given).rpartition("/")[2]
    for place in (path.parent, Path(), folder):
        if (place / name).exists():
            return str(place / name), [f"model.pretrained: {place / name} is taken for {given}"]
    raise NotHonouredError(
        f"model.pretrained {given}: a training downloads nothing; get the file (curl -O {given}) and write"
        f" its path, or put {name} beside the configuration"
    )
