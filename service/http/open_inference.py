"""The Open Inference Protocol apart from what carries it: the model as it describes it, and its inference."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from service.errors import ProblemType, ServiceError
from service.http.answers import answer
from service.http.routes.open_inference_messages import NAME, OUTPUTS, OutputTensor, RequestParameters
from service.reading.reader import Reader
from service.reading.request import ReadRequest
from service.types import ReadOptions, Timings

PLATFORM = "mindspore_mindir"
_ANY = -1
_TRITON_TYPES = {"BYTES": "TYPE_STRING", "FP32": "TYPE_FP32", "INT32": "TYPE_INT32"}


class Described:
    """The service and its one model in the protocol's own words: plain values, ready for JSON."""

    def __init__(self, reader: Reader, version: str) -> None:
        """`version` is that of the service."""
        self._reader = reader
        self._version = version
        self.name = reader.settings.model_name or NAME

    def check(self, name: str, version: str = "") -> None:
        """Raises ServiceError if there is no such model."""
        if name != self.name:
            raise ServiceError(ProblemType.NO_SUCH_MODEL, f"There is only {self.name!r}.")
        if version:
            self._reader.choose(version)

    @property
    def is_ready(self) -> bool:
        return self._reader.state == "ready"

    def server(self) -> dict[str, Any]:
        extensions = ["binary_tensor_data", "statistics"]
        return {"name": NAME, "version": self._version, "extensions": extensions}

    def model(self) -> dict[str, Any]:
        """Its tensors."""
        return {
            "name": self.name,
            "versions": self._versions(),
            "platform": PLATFORM,
            "inputs": [{"name": "image", "datatype": "BYTES", "shape": [_ANY]}],
            "outputs": [
                {"name": tensor, "datatype": output.datatype, "shape": [_ANY]}
                for tensor, output in OUTPUTS.items()
            ],
        }

    def config(self) -> dict[str, Any]:
        """The same in the words of Triton's configuration."""
        image, *outputs = [
            {"name": tensor, "data_type": _TRITON_TYPES[output.datatype], "dims": [_ANY]}
            for tensor, output in {"image": OutputTensor("BYTES"), **OUTPUTS}.items()
        ]
        described = {"name": self.name, "platform": PLATFORM, "max_batch_size": 0}
        return {**described, "input": [image], "output": outputs}

    def index(self) -> list[dict[str, Any]]:
        """The versions being served, as Triton lists its repository."""
        state = "READY" if self.is_ready else "UNAVAILABLE"
        reason = "" if self.is_ready else f"the service is {self._reader.state}"
        return [
            {"name": self.name, "version": version, "state": state, "reason": reason}
            for version in self._versions()
        ]

    def stats(self, asked: str = "") -> dict[str, Any]:
        """What Triton's statistics extension tells of each version, or of the one that is asked for."""
        statistics = self._reader.observer.statistics
        return {
            "model_stats": [
                {"name": self.name, "version": version, **statistics.of(version)}
                for version in self._versions()
                if asked in ("", version)
            ]
        }

    def _versions(self) -> list[str]:
        return [one.model.version for one in self._reader.deployments]


class Inference(NamedTuple):
    """The values of each output that was asked for, the version that read, and its slowest crop's timings."""

    values: dict[str, list[Any]]
    version: str
    slowest: Timings


def options_of(parameters: RequestParameters) -> ReadOptions:
    """What they say of reading; the rest is the transport's."""
    return ReadOptions(**parameters.model_dump(exclude={"binary_data_output", "timeout"}))


async def read_tensor(reader: Reader, wanted: ReadRequest, names: Sequence[str]) -> Inference:
    """Reads crops into the outputs `names`.

    Raises ServiceError also for one crop that cannot be read: a tensor has no place for an error.
    """
    crops = await reader.read(wanted._replace(detail="iterations" in names))
    for index, crop in enumerate(crops):
        if isinstance(crop.error, ServiceError):
            raise ServiceError(crop.error.problem, f"image[{index}]: {crop.error.detail}")
    values: dict[str, list[Any]] = {name: [] for name in names}
    measured: list[Timings] = []
    for crop in crops:
        reading, timings = answer(crop, since=time.perf_counter())
        reader.observer.model_crop(crop.submission.model.version, timings)
        measured.append(timings)
        if "iterations" in values:
            reading["iterations"] = orjson.dumps(reading["iterations"]).decode()
        for name, column in values.items():
            column.append(reading[name])
    slowest = max(measured, key=lambda timings: timings.total)
    return Inference(values, crops[0].submission.model.version, slowest)
