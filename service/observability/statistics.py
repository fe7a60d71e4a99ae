"""The statistics of Triton's extension for each version of the model, since the service was started."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from service.observability.counts import Counts, totals
from service.types import Timings

_REQUESTS, _CROPS, _CALLS, _LATEST = ("v2_requests", "v2_crops", "v2_calls", "v2_latest")


class ModelStatistics:
    """Requests, crops and engine calls by version, with seconds. Only for the event loop's thread."""

    def __init__(self, counts: Counts, beside: Sequence[Counts] = ()) -> None:
        """Reports also what others count `beside` it."""
        self._counts = counts
        self._all = [counts, *beside]

    def request(self, version: str, has_failed: bool, seconds: float) -> None:
        place = self._counts.place(_REQUESTS, (version,), 4) + 2 * has_failed
        self._counts.cells[place] += 1
        self._counts.cells[place + 1] += seconds
        self._counts.cells[self._counts.place(_LATEST, (version,), 1)] = time.time()

    def crop(self, version: str, timings: Timings) -> None:
        place, cells = self._counts.place(_CROPS, (version,), 5), self._counts.cells
        cells[place] += 1
        cells[place + 1] += timings.queue
        cells[place + 2] += timings.decode
        cells[place + 3] += timings.batch + timings.vision + timings.refine
        cells[place + 4] += timings.encode

    def call(self, version: str, size: int, seconds: float) -> None:
        """Counts an engine call with `size` crops."""
        place = self._counts.place(_CALLS, (version, size), 2)
        self._counts.cells[place] += 1
        self._counts.cells[place + 1] += seconds

    def of(self, version: str) -> dict[str, Any]:
        """The members that the extension gives a version, apart from its name.

        Waits and computations are counted by crop. The times of batches are the engine's own.
        """
        key = (version,)
        good, good_s, bad, bad_s = totals(self._all, _REQUESTS).get(key, [0.0] * 4)
        crops, *milliseconds = totals(self._all, _CROPS).get(key, [0.0] * 5)
        queue, decode, infer, encode = (_duration(crops, each / 1e3) for each in milliseconds)
        calls = {
            int(labels[1]): (count, seconds)
            for labels, (count, seconds) in totals(self._all, _CALLS).items()
            if labels[0] == version
        }
        latest = [dict(one.series(_LATEST)).get(key, [0.0])[0] for one in self._all]
        return {
            "last_inference": int(1e3 * max(latest)),
            "inference_count": int(crops),
            "execution_count": int(sum(count for count, _ in calls.values())),
            "inference_stats": {
                "success": _duration(good, good_s),
                "fail": _duration(bad, bad_s),
                "queue": queue,
                "compute_input": decode,
                "compute_infer": infer,
                "compute_output": encode,
                "cache_hit": _duration(0, 0),
                "cache_miss": _duration(0, 0),
            },
            "batch_stats": [
                {
                    "batch_size": size,
                    "compute_input": _duration(count, 0),
                    "compute_infer": _duration(count, seconds),
                    "compute_output": _duration(count, 0),
                }
                for size, (count, seconds) in sorted(calls.items())
            ],
        }


def _duration(count: float, seconds: float) -> dict[str, int]:
    return {"count": int(count), "ns": int(1e9 * seconds)}
