"""The command line of `abinet doctor`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict

from service.doctor.ascend import ascend_checks
from service.doctor.check import Check
from service.doctor.engine import engine_checks
from service.doctor.machine import address_check, library_checks, machine_checks
from service.engine_choice import chosen
from service.observability.request_log import configure_logging
from service.settings.model import Settings
from service.settings.sources import add_flags, read_settings

CANNOT_SERVE = 1


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "It takes the settings of `abinet serve` and checks whether that would work."
    add_flags(parser)
    parser.add_argument("--json", action="store_true", help="print the checks as JSON")


def run(arguments: argparse.Namespace) -> int:
    settings = read_settings(arguments).settings
    configure_logging(settings)
    checks = []
    for check in _checks(*chosen(settings)):
        checks.append(check)
        if not arguments.json:
            print(_line(check), flush=True)
    can_serve = all(check.status != "failed" for check in checks)
    if arguments.json:
        print(json.dumps({"can_serve": can_serve, "checks": [asdict(check) for check in checks]}, indent=2))
    else:
        print("\nThe service can serve." if can_serve else "\nThe service cannot serve with these settings.")
    return 0 if can_serve else CANNOT_SERVE


def _checks(settings: Settings, why_this_engine: str) -> Iterator[Check]:
    yield from machine_checks()
    yield address_check(settings)
    yield Check("engine", "ok", f"{settings.engine}: {why_this_engine}")
    yield from library_checks(settings)
    yield from ascend_checks(settings)
    yield from engine_checks(settings)


def _line(check: Check) -> str:
    line = f"{check.status:<8} {check.name:<16} {check.found}"
    return f"{line}\n{'':<26}-> {check.remedy}" if check.remedy else line
