"""What the usual error messages of MindSpore, Lite and CANN mean, and what helps."""

from __future__ import annotations

import re

# Patterns, the most specific ones first: the first that matches explains the failure.
_REMEDIES = (
    (
        r"undefined symbol",
        "libraries of different releases are mixed: install MindSpore, MindSpore Lite and CANN releases "
        "that belong together, and source the set_env.sh of that CANN alone",
    ),
    (
        r"acl open device (\d+) failed|aclrtSetDevice.*failed",
        "the card is in use or may not be opened: `npu-smi info` shows its processes; the user must be in "
        "the driver's group (HwHiAiUser), and a container needs its /dev/davinci devices",
    ),
    (
        r"Save ge model to buffer failed",
        "the MindIR was not made for this card and release: export the bundle again on this machine with "
        "--ascend",
    ),
    (
        r"maximum mind ir version|Got null AbstractBasePtr",
        "the MindIR is of another MindSpore release: export the checkpoint again with the worker's release",
    ),
    (
        r"GLIBC(XX)?_[\d.]+' not found",
        "the package was built for a newer system: use a newer distribution, or an older release of it",
    ),
    (
        r"Failed to register Ascend plugin|DLSoOpen failed",
        "this MindSpore Lite cannot load its Ascend plugin: the one of PyPI (2.0.0) needs the libraries of "
        "a CANN of its time; install the Lite that the vendor publishes with your CANN, "
        "or serve with --devices cpu",
    ),
    (
        r"Unsupported device target Ascend",
        "MindSpore finds no Ascend runtime: install the driver and the CANN that belongs to this MindSpore "
        "and source CANN's set_env.sh, or serve with --devices cpu",
    ),
    (
        r"(lib[\w+-]+\.so[.\d]*): cannot open shared object file",
        "{1} is not found: source CANN's set_env.sh, or add its folder to LD_LIBRARY_PATH",
    ),
    (
        r"numpy\.core\.multiarray failed to import|compiled using NumPy 1",
        "the package needs NumPy 1: install numpy==1.26.4 there",
    ),
    (
        r"No module named '?([\w.]+)",
        "install {1} for that interpreter, or give a --worker-python that has it",
    ),
    (r"signal 4\b|Illegal instruction", "this CPU lacks instructions that the package was built for"),
    (r"signal 7\b|Bus error", "/dev/shm is too small: give the container more with --shm-size"),
    (r"signal 9\b", "the process was killed: most likely the machine ran out of memory"),
)


def remedy_for(message: str) -> str:
    """One line with the remedy for this message, or "" if none is known."""
    for pattern, remedy in _REMEDIES:
        found = re.search(pattern, message)
        if found:
            return remedy.replace("{1}", found.group(1)) if "{1}" in remedy else remedy
    return ""
