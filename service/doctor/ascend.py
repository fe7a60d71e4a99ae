"""CANN and the NPUs, as far as they can be seen without using them."""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess
from typing import NamedTuple

from service.doctor.check import Check, Status
from service.settings.model import Settings

_HOMES = ("ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME")
_USUAL_HOME = "/usr/local/Ascend/ascend-toolkit/latest"
_VERSION_FILES = ("*/ascend_toolkit_install.info", "version.cfg", "version.info", "*/version.info")
_TIMEOUT_S = 20.0
# "| 0     910B3               | OK            | 93.6 ...": a card's first row.
_CARD = re.compile(r"^\|\s*(\d+)\s+([\w-]*[A-Za-z][\w-]*|\d{3}\w*)\s*\|\s*([A-Za-z]+)\s*\|", re.MULTILINE)


class Card(NamedTuple):
    """One NPU, as npu-smi shows it."""

    number: int
    name: str
    health: str


def ascend_checks(settings: Settings) -> list[Check]:
    """Checks CANN and the cards, and names what only a run on a card would show."""
    wanted = [int(device.partition(":")[2]) for device in settings.engine_devices if device != "cpu"]
    # Never more than a warning, because the engine shows whether it really fails.
    lacking: Status = "warning" if wanted else "missing"
    checks = [_cann(lacking), _cards(lacking, wanted)]
    if wanted and checks[-1].status == "ok":
        return checks
    unseen = "whether a graph runs on an NPU and how fast: no card was used"
    return [*checks, Check("Ascend run", "unknown", unseen)]


def _cann(lacking: Status) -> Check:
    home = next((os.environ[name] for name in _HOMES if os.environ.get(name)), "")
    if not home:
        if os.path.isdir(_USUAL_HOME):
            return Check(
                "CANN", lacking, f"in {_USUAL_HOME}, not set up", f"source {_USUAL_HOME}/../set_env.sh"
            )
        return Check("CANN", lacking, "not found", "for Ascend, install CANN and source its set_env.sh")
    if not os.path.isdir(home):
        return Check("CANN", lacking, f"{home} is not there", "source the set_env.sh of the installed CANN")
    version = _cann_version(home)
    libraries = os.path.join(home, "lib64")
    if libraries not in os.environ.get("LD_LIBRARY_PATH", "").split(":"):
        found = f"{version} in {home}, but LD_LIBRARY_PATH lacks {libraries}"
        return Check("CANN", "warning", found, "source its set_env.sh in the shell that starts the service")
    return Check("CANN", "ok", f"{version} in {home}")


def _cann_version(home: str) -> str:
    for pattern in _VERSION_FILES:
        for path in sorted(glob.glob(os.path.join(glob.escape(home), pattern))):
            with open(path, encoding="utf-8", errors="replace") as file:
                found = re.search(r"(?mi)^\s*(?:\w*version\w*)\s*=\s*\W*([\w.]+)", file.read())
            if found:
                return found.group(1)
    return "unknown release"


def _cards(lacking: Status, wanted: list[int]) -> Check:
    if shutil.which("npu-smi") is None:
        return Check(
            "NPUs",
            lacking,
            "npu-smi not found",
            "for Ascend, install the driver; a container needs npu-smi and the driver's folder mounted",
        )
    try:
        told = subprocess.run(["npu-smi", "info"], capture_output=True, text=True, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("NPUs", lacking, f"npu-smi info: {error}", "restart the driver or the machine")
    cards = [Card(int(number), name, health) for number, name, health in _CARD.findall(told.stdout)]
    if told.returncode or not cards:
        words = " ".join((told.stderr + told.stdout).split())[:200] or "says nothing"
        return Check(
            "NPUs",
            lacking,
            f"npu-smi info: {words}",
            "the driver shows no card: a container needs /dev/davinciN, /dev/davinci_manager, "
            "/dev/devmm_svm and /dev/hisi_hdc",
        )
    return _judge(cards, wanted)


def _judge(cards: list[Card], wanted: list[int]) -> Check:
    found = ", ".join(f"{card.number}: {card.name} {card.health}" for card in cards)
    absent = sorted(set(wanted) - {card.number for card in cards})
    if absent:
        there = ",".join(str(card.number) for card in cards)
        return Check(
            "NPUs",
            "warning",
            f"{found}; no card {absent[0]}",
            f"name cards that are there: --devices {there}",
        )
    ill = [card for card in cards if card.health != "OK" and (card.number in wanted or not wanted)]
    if ill:
        return Check("NPUs", "warning", found, f"see `npu-smi info -t health -i {ill[0].number}`")
    return Check("NPUs", "ok", found)
