"""More files than one machine reads in time, to tables of texts: Ray Data over folders and object stores.

The files are divided into parts of a fixed size. An actor reads a whole part with an engine of its own,
writes the part's table and returns only counts. The list of files alone decides what a part holds and what
its table is called. So if a machine dies, its part is read again and its table written over, and in the end
each file has one row.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import ray.data
from pyarrow import fs
from ray.exceptions import RayError

from abinet_client.batch.rows import FORMATS, Row
from abinet_client.batch.sources import IMAGES
from service.commands.read_on_ray.files import Place, content, image_files, is_empty, place_of, write_whole
from service.crop import Crop
from service.errors import ProblemType, ServiceError
from service.on_ray.arguments import Arguments
from service.on_ray.reader import resources, started_reader
from service.reading.notes import note_of
from service.reading.request import ReadRequest
from service.types import ReadOptions

T = TypeVar("T")

_FILES_AT_ONCE = 128
"""Files in one actor: fetched, decoded, waiting or being read. The queue has room for at least as many."""
_FETCHERS = 16
_PATIENCE_S = 300.0
"""How long a crop may take, because no client waits for it, and how long a dead engine worker may be away."""
_PAUSE_S = 1.0


class CorpusSummary(NamedTuple):
    """The result of a run. `seconds` are those of reading, including the start of the actors."""

    files: int
    failed: int
    parts: int
    seconds: float


class Job(NamedTuple):
    """What every actor gets. `stores` are the file systems of the sources, in their order."""

    stores: list[fs.FileSystem]
    schemes: list[str]
    output: Place
    format: str
    given: dict[str, Any]
    options: ReadOptions


def read(
    sources: Sequence[str],
    output: str,
    arguments: Arguments,
    *,
    part_files: int,
    format: str = "csv",
    options: ReadOptions = ReadOptions(),  # noqa: B008, it is frozen
    progress: bool = False,
) -> CorpusSummary:
    """Reads every image file in `sources` into tables `part-000000.csv`, ... in `output`.

    Sources and output are paths or URIs (`s3://`, `gs://`, `hdfs://`, ...) that every machine of the cluster
    reaches. Each of `arguments.replicas` actors has a reader of its own; with `max_replicas` Ray starts up to
    that number. A file that cannot be read is a row with an error.

    Raises ValueError if there is nothing to read, `output` is not empty or an engine cannot start, and
    OSError if a place cannot be reached.
    """
    places, folder = [place_of(source) for source in sources], place_of(output)
    if not is_empty(folder):
        raise ValueError(f"{output}: is not empty; name a new folder")
    parts = list(_parts(places, part_files))
    if not parts:
        raise ValueError(f"{', '.join(sources)}: no image files ({' '.join(IMAGES)})")
    job = Job(
        [place.files for place in places],
        [place.scheme for place in places],
        folder,
        format,
        {**arguments.given, "timeout_s": _PATIENCE_S},
        options,
    )
    started = time.monotonic()
    failed = sum(_failures(parts, job, arguments, progress))
    return CorpusSummary(
        sum(len(part["paths"]) for part in parts), failed, len(parts), time.monotonic() - started
    )


def _parts(places: Sequence[Place], size: int) -> Iterator[dict[str, Any]]:
    """Parts of `size` files, of one source each."""
    number = 0
    for source, place in enumerate(places):
        paths = image_files(place)
        for first in range(0, len(paths), size):
            yield {"part": number, "source": source, "paths": paths[first : first + size]}
            number += 1


def _failures(parts: list[dict[str, Any]], job: Job, arguments: Arguments, progress: bool) -> Iterator[int]:
    """Reads every part; yields each one's number of rows with an error."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = progress
    replicas = arguments.replicas
    # One block for each part, because Ray repeats whole blocks if a machine dies.
    counts = ray.data.from_items(parts, override_num_blocks=len(parts)).map(
        PartReader,
        fn_constructor_args=(job,),
        compute=ray.data.ActorPoolStrategy(
            min_size=replicas.replicas, max_size=max(replicas.replicas, replicas.max_replicas or 0)
        ),
        num_cpus=replicas.cpus,
        resources=resources(arguments.settings.engine_devices),
    )
    try:
        for row in counts.iter_rows():
            yield row["failed"]
    except RayError as error:
        # A traceback; its last line is the actor's error.
        raise ValueError(str(error).strip().splitlines()[-1].partition(": ")[2]) from error


class PartReader:
    """An actor: a reader in an event loop of its own, and threads that fetch files for it."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._fetchers = ThreadPoolExecutor(_FETCHERS, thread_name_prefix="fetch")
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._reader = self._run(started_reader(job.given))
        self._room = asyncio.Semaphore(min(_FILES_AT_ONCE, self._reader.settings.max_queue))

    def __call__(self, part: dict[str, Any]) -> dict[str, int]:
        """A part (paths, their source, its number) -> how many rows have an error; its table is written."""
        rows = self._run(self._rows(part["source"], part["paths"]))
        table = FORMATS[self._job.format](detail=False)
        name = f"part-{part['part']:06d}.{self._job.format}"
        write_whole(self._job.output, name, b"".join([table.header(), *map(table.encode, rows)]))
        return {"failed": sum(row.error is not None for row in rows)}

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _rows(self, source: int, paths: Sequence[str]) -> list[Row]:
        return await asyncio.gather(*(self._row(source, path) for path in paths))

    async def _row(self, source: int, path: str) -> Row:
        name, limit = self._job.schemes[source] + path, self._reader.settings.max_body_bytes
        async with self._room:
            try:
                body = await self._loop.run_in_executor(
                    self._fetchers, content, self._job.stores[source], path, limit
                )
                crop = await self._read(body)
            except ServiceError as error:
                return Row(name, error=error.detail)
            except (OSError, ValueError) as error:
                return Row(name, error=" ".join(str(error).split()))
        final = crop.words[-1]
        return Row(name, final.text, final.confidence, note=note_of(final))

    async def _read(self, body: bytes) -> Crop:
        """Raises ServiceError: the crop's error, or that there was no engine worker for too long."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                (crop,) = await self._reader.read(ReadRequest([body], self._job.options))
                if crop.error is None:
                    return crop
                raise crop.error
            except ServiceError as error:
                if error.problem is not ProblemType.NOT_READY or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(_PAUSE_S)
