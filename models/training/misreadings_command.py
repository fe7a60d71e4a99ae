"""``abinet misreadings``: measures how a checkpoint's vision model misreads the crops that it is trained
on."""

from __future__ import annotations

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    from models.training.command import add_data_options

    parser.add_argument("checkpoint", type=Path, metavar="NAME.ckpt")
    add_data_options(parser)
    parser.add_argument("--crops", type=int, default=20000, metavar="N", help="default: 20000")
    parser.add_argument("--output", "-o", type=Path, required=True, metavar="FILE.npz")


def run(args: argparse.Namespace) -> int:
    """Measures; returns the exit code."""
    from dataclasses import replace
    from itertools import islice

    import numpy as np
    from tqdm import tqdm

    from models.checkpoints.checkpoint import read_checkpoint
    from models.training.backends import open_backend
    from models.training.batches import batches_ahead
    from models.training.command import named, with_options
    from models.training.data import TrainingData
    from models.training.misreadings import measure
    from models.training.recipe import Recipe
    from service.bundle_format.hashes import sha256_of

    recipe = with_options(Recipe.from_yaml(named(args.config)), args)
    parameters, sidecar = read_checkpoint(args.checkpoint)
    backend = open_backend(recipe)
    backend.load(parameters, str(args.checkpoint))
    on_crops = [stage for stage in recipe.train.stages if stage.stage != "language"]
    if not on_crops:
        raise ValueError(f"{args.config}: no stage of this recipe trains on crops")
    stage = on_crops[-1].model_copy(update={"batch_size": recipe.eval.batch_size})
    data = TrainingData(recipe, sidecar.preprocessing)
    made = batches_ahead(data.batches(stage, recipe.system.seed), 0)
    batches = tqdm(islice(made, -(-args.crops // recipe.eval.batch_size)), unit="batch")
    found, counts = measure(lambda images: backend.read(images)[0], batches, np.random.default_rng(0))
    made.close()
    dataset = recipe.train.dataset
    how = {
        "checkpoint": args.checkpoint.name,
        "sha256": sha256_of(args.checkpoint),
        "recipe": recipe.network,
        "stored": [path.name for path in data.stored_sets()],
        "rendered": dataset.rendered if dataset.roots else 1.0,
        **counts,
    }
    replace(found, made=how).save(args.output)
    print(f"{args.output}: {', '.join(f'{key} {value}' for key, value in how.items())}")
    return 0
