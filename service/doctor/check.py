"""The finding of a check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "missing", "unknown", "failed"]


@dataclass(frozen=True)
class Check:
    """One finding.

    `missing`: these settings do not need it. `unknown`: it cannot be found out here. Only with a `failed` the
    service cannot serve. A remedy is one line.
    """

    name: str
    status: Status
    found: str
    remedy: str = ""
