"""Folders of crops for programs: the engine of `abinet read`, with its rows as an iterator."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator
from typing import Any, Union

from abinet_client import Client
from abinet_client.batch.reading import RETRY, read_items, row_of
from abinet_client.batch.rows import Row
from abinet_client.batch.sources import Inputs

Source = Union[str, "os.PathLike[str]"]


def read_folder(
    client: Client, inputs: Source | Iterable[Source], *, done: Container[str] = (), **options: Any
) -> Iterator[Row]:
    """Reads a folder, or whatever else `abinet read` takes: image files, globs, LMDB sets, lists of paths.

        for row in read_folder(client, "crops"):
            print(row.path, row.text, row.confidence, row.error)

    Yields a row for each crop, in order; the row of a crop that cannot be read has the error. Some hundreds
    of crops are under way at a time. If the service is too busy or starts again, this waits for it.

    Args:
        client: as for its `read_many`; its timeout is that of a request.
        inputs: one or several of these.
        done: paths that an earlier run has read, which are skipped.
        options: as for `Client.read`: iterations, early_stop, turns, detail, lexicon, alternatives.

    Raises:
        AbinetError: the service refuses the options or the key, or is away for the client's timeout.
        ValueError: there is no image.
    """
    several = [inputs] if isinstance(inputs, (str, os.PathLike)) else inputs
    items = Inputs([os.fspath(one) for one in several])
    items.check()
    detail = options.setdefault("detail", False)
    unread = (item for item in items if item.name not in done)
    patient = client.with_options(retry=RETRY)
    return (row_of(result, detail) for result in read_items(patient, unread, options))
