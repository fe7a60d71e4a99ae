"""What can be evaluated: a checkpoint, a bundle, a running service."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from abinet_client.local_service import local_service
from models.evaluation.reading import CropReader, Turns
from service.commands.evaluate.service_reader import ServiceReader


@contextlib.contextmanager
def open_reader(
    source: str, serve_options: Sequence[str] = (), turns: Turns = "auto"
) -> Iterator[CropReader]:
    """A reader of NAME.ckpt, of a bundle's folder, or of the service at a URL.

    A bundle is read through a service started with ``serve_options``, so that the evaluation measures what is
    served.

    Raises:
        ValueError: the source cannot be read, or ``serve_options`` are given for one that needs no service.
    """
    is_url, is_bundle = source.startswith(("http://", "https://")), Path(source).is_dir()
    if serve_options and not is_bundle:
        raise ValueError(f"{source}: not a bundle, so {serve_options[0]} does not apply to it")
    if is_url:
        with ServiceReader(source, turns) as reader:
            yield reader
    elif is_bundle:
        with (
            local_service(["--bundle", source, *serve_options]) as address,
            ServiceReader(address, turns) as reader,
        ):
            yield reader
    else:
        from models.evaluation.checkpoint_reader import CheckpointReader

        yield CheckpointReader(Path(source), turns)
