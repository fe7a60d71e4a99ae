"""The settings of `abinet serve`, their defaults, and the check for contradictions."""

from __future__ import annotations

import os
import re
import sys
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from service.engines.engine import EngineOptions
from service.types import Turns

_DEVICE = re.compile(r"cpu|ascend|(ascend:)?\d+", re.ASCII)
_SMALLEST_IMAGE_BYTES = 58
"""The size of a BMP of one pixel."""
_CPU_WORKERS = 2
"""Each takes half a GB with MindSpore; on two cores two read a fifth to a third more crops than one."""


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _listed(value: Any) -> Any:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


ANY_PROXY = "*"
_ROOT_PATH = re.compile(r"(/[\w~-][\w.~-]*)+", re.ASCII)
_OWN_PATHS = ("v1", "v2", "docs", "health", "metrics", "web", "openapi.json", "favicon.ico")


def is_root_path(path: str) -> bool:
    """Whether a path can be a prefix of the service's paths, and does not begin like one of them."""
    return bool(_ROOT_PATH.fullmatch(path)) and path.split("/")[1] not in _OWN_PATHS


def _root_path(path: Any) -> Any:
    path = path.rstrip("/") if isinstance(path, str) else path
    if path and not is_root_path(str(path)):
        raise ValueError("no path such as /ocr, or the service has paths of its own there")
    return path


def _proxy(network: Any) -> str:
    if network != ANY_PROXY:
        ip_network(network)
    return str(network)


def _device(name: Any) -> str:
    name = str(name)
    if not _DEVICE.fullmatch(name):
        raise ValueError(f"{name!r} is neither cpu nor ascend:N nor a number N, which means ascend:N")
    number = name.removeprefix("ascend").removeprefix(":") or "0"
    return name if name == "cpu" else f"ascend:{int(number)}"


Device = Annotated[str, BeforeValidator(_device)]
Key = Annotated[SecretStr, Field(min_length=1)]
# A list may also be one string with commas.
Devices = Annotated[tuple[Device, ...], NoDecode, BeforeValidator(_listed), Field(min_length=1)]
Keys = Annotated[tuple[Key, ...], NoDecode, BeforeValidator(_listed)]
Origins = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
RootPath = Annotated[str, BeforeValidator(_root_path)]
Proxy = Annotated[str, BeforeValidator(_proxy)]
Proxies = Annotated[tuple[Proxy, ...], NoDecode, BeforeValidator(_listed)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]
Milliseconds = Annotated[float, Field(ge=0)]


class Settings(BaseSettings):
    """Limits count crops, bytes, pixels and seconds.

    Holds the given values and the defaults; `service.settings.sources.read_settings` reads flags, environment
    and file. Raises ValidationError if a value is out of range or two contradict each other.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="ABINET_",
        env_ignore_empty=True,
        use_attribute_docstrings=True,
    )

    bundle: Path | None = None
    """Folder of the bundle; without one the bundled model."""
    engine: Literal["auto", "mindspore", "lite", "simulated"] = "auto"
    """What runs the graphs; auto is MindSpore Lite if its environment and a bundle for it are there."""
    graph: Literal["stepwise", "fused"] = "stepwise"
    """Vision and refinements one by one, or all in one call."""
    model_name: Annotated[str, Field(pattern=r"^[\w.-]{1,64}$")] | None = None
    """What /v2 and all answers call the model; without it /v2 says abinet, and answers the bundle's name."""
    devices: Devices | None = None
    """A worker for each: cpu (may be repeated), or Ascend cards such as 0,1,2,3; without it two on CPU."""
    precision_mode: str = "enforce_fp32"
    """Precision of MindSpore Lite on Ascend."""
    threads: Count | None = None
    """CPU threads of each Lite worker; without it the cores, shared among the workers."""
    bind_threads: bool = False
    """Bind each thread of an engine on CPU to a core; helps only if nothing else uses these cores."""
    worker_python: str = sys.executable
    """Interpreter of the engine workers."""
    simulated_ms: Milliseconds = 2.0
    """Milliseconds that a call of the simulated engine takes."""
    simulated_ms_per_crop: Milliseconds = 0.0
    """Milliseconds that each crop of its batch adds."""
    iterations: Annotated[int, Field(ge=0)] | None = None
    """Refinements of a request that does not say; without it the bundle's own number."""
    turns: Turns = "auto"
    """Ways up if a request does not say: auto also turns tall crops to either side, all turns every crop."""
    lexicons: Path | None = None
    """Folder of word lists, NAME.txt with a word a line, which requests may name as their `lexicon`."""
    vision_threshold: Annotated[float, Field(gt=0, le=1)] | None = None
    """Early stop leaves out all refinements if vision gives every character at least this probability."""
    settled_threshold: Annotated[float, Field(gt=0, le=1)] | None = None
    """Early stop ends after a refinement that changed nothing and gives every character at least this."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """0 takes a free one."""
    grpc_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    """Port of /v2 over gRPC (the extra `grpc`), at the same host; 0 takes a free one."""
    uds: Path | None = None
    """Unix socket to listen on, in place of host and port."""
    api_keys: Keys = ()
    """API keys; a client must send one of them. Without any, the service asks for none."""
    api_keys_file: Path | None = None
    """File with such keys, one a line."""
    admin_keys: Keys = ()
    """Keys for changing the model over HTTP; without any, nobody may."""
    admin_keys_file: Path | None = None
    """File with such keys, one a line."""
    cors_origins: Origins = ()
    """Other hosts whose pages may send requests, such as https://shop.example; * for any."""
    root_path: RootPath | None = None
    """Path at which a proxy shows the service, such as /ocr; the proxy may cut it off or pass it on."""
    trusted_proxies: Proxies = ()
    """Addresses or networks of proxies whose X-Forwarded-Prefix and -Proto count; * for any."""
    bundles: Path | None = None
    """Folder of the bundles that may be loaded over HTTP."""

    fronts: Count = 1
    """Processes that speak HTTP, read images and share the engine workers."""
    max_queue: Count = 256
    """Readings of crops that may wait for the engine: one for each way up."""
    max_batch_items: Count = 64
    """Crops of one batch request."""
    max_body_bytes: Count = 8 << 20
    """Bytes of one request's body."""
    max_held_bytes: Count = 256 << 20
    """Bytes of all bodies held at a time, without the first 64 KiB of each."""
    max_connections: Count = 4096
    """Connections that may be open; a further one replaces the one that has been idle for longest."""
    keep_alive_s: Seconds = 75.0
    """Seconds that a connection may be idle between requests; a proxy should allow fewer (nginx: 60)."""
    max_pixels: Count = 16_000_000
    """Pixels of one image, checked before it is decoded."""
    timeout_s: Seconds = 30.0
    """Longest that a request may take, the queue included."""
    drain_s: Seconds = 30.0
    """How long SIGTERM waits for the requests in flight."""

    log_format: Literal["text", "json"] = "text"
    """Format of the lines on the terminal."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level that is logged."""
    access_log: bool = True
    """Log a line for each request, never the text that was read."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_: Any,
        **others: Any,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.max_batch_items > self.max_queue:
            raise ValueError(
                f"max_batch_items {self.max_batch_items} is more than max_queue {self.max_queue}: "
                "such a batch would never be taken; lower the first or raise the second"
            )
        if self.max_batch_items > self.max_queue // self.fronts:
            raise ValueError(
                f"max_batch_items {self.max_batch_items} is more than a front's share of max_queue "
                f"{self.max_queue}, {self.max_queue // self.fronts}: raise max_queue"
            )
        if self.max_body_bytes < self.max_batch_items * _SMALLEST_IMAGE_BYTES:
            raise ValueError(
                f"max_body_bytes {self.max_body_bytes} cannot hold the {self.max_batch_items} images "
                "of max_batch_items"
            )
        if self.max_held_bytes < self.max_body_bytes * self.fronts:
            raise ValueError(
                f"max_held_bytes {self.max_held_bytes} cannot hold one body of max_body_bytes at each front"
            )
        if set(self.admin_keys) & set(self.api_keys):
            raise ValueError("an API key is also one of admin_keys: an admin key is for admins alone")
        cards = [device for device in self.devices or () if device != "cpu"]
        if len(set(cards)) < len(cards):
            raise ValueError("an Ascend card is named twice in devices: one worker a card")
        return self

    def of_front(self) -> dict[str, Any]:
        """The settings of one front as plain values, including secrets, with its share of queue, bytes and
        connections.
        """
        values = self.model_dump(mode="json", exclude={"api_keys", "admin_keys"})
        for name in ("api_keys", "admin_keys"):
            values[name] = [key.get_secret_value() for key in getattr(self, name)]
        shares = {
            name: max(1, getattr(self, name) // self.fronts)
            for name in ("max_queue", "max_held_bytes", "max_connections")
        }
        return {**values, "devices": list(self.engine_devices), "fronts": 1, **shares}

    @property
    def engine_devices(self) -> tuple[str, ...]:
        """The device of each engine worker."""
        if self.devices is not None:
            return self.devices
        most = 1 if self.engine == "simulated" else _CPU_WORKERS
        return ("cpu",) * max(1, min(most, _cores() // (self.threads or 1)))

    def engine_options(self) -> tuple[EngineOptions, ...]:
        """How each worker runs the bundle, in the order of `engine_devices`."""
        devices = self.engine_devices
        threads = self.threads or max(1, _cores() // len(devices))
        on_cpu = devices.count("cpu")
        return tuple(
            EngineOptions(
                # `auto` is usually replaced before (service.engine_choice).
                engine="mindspore" if self.engine == "auto" else self.engine,
                graph=self.graph,
                threads=threads,
                place=devices[:index].count("cpu"),
                places=on_cpu,
                bind_threads=self.bind_threads,
                device=device.partition(":")[0],
                device_id=int(device.partition(":")[2] or 0),
                precision_mode=self.precision_mode,
                simulated_ms=self.simulated_ms,
                simulated_ms_per_crop=self.simulated_ms_per_crop,
            )
            for index, device in enumerate(devices)
        )
