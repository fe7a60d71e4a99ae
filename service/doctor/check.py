"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "missing", "unknown", "failed"]


@dataclass(frozen=True)
class Check:
    """One finding.

    `missing` is what these settings can do without, `unknown` what cannot be found out here; only with a
    `failed` the service cannot serve. A remedy is one line.
    """

    name: str
    status: Status
    found: str
    remedy: str = ""
