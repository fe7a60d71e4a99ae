"""Offline compilation of a bundle's graphs for Ascend, by MindSpore Lite's converter and CANN.

Not checked on Ascend hardware: the machine on which this was written has neither the converter's CANN
libraries nor an NPU. The command line and the settings are those of MindSpore Lite's documentation.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import List, Optional

from service.bundle_format.hashes import sha256_of
from service.bundle_format.manifest import ASCEND, AscendGraphs, BundleError, GraphFile

#: The converter's own default is enforce_fp16; the graphs' precision is kept instead.
_PRECISION_MODE = "enforce_origin"


def find_converter() -> Path:
    """MindSpore Lite's ``converter_lite``, if CANN is installed too.

    Raises:
        BundleError: either is missing; says which and how to install it.
    """
    converter = shutil.which("converter_lite") or _below_lite_home()
    if converter is None:
        raise BundleError(
            "--ascend needs MindSpore Lite's converter_lite on the PATH or under LITE_HOME; "
            "unpack the MindSpore Lite package for Ascend and set LITE_HOME to it"
        )
    if not any(os.environ.get(name) for name in ("ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME")):
        raise BundleError(
            "--ascend needs CANN; install it and source its set_env.sh (it sets ASCEND_HOME_PATH)"
        )
    return Path(converter)


def _below_lite_home() -> Optional[str]:
    home = os.environ.get("LITE_HOME")
    path = Path(home, "tools", "converter", "converter", "converter_lite") if home else None
    return str(path) if path is not None and path.is_file() else None


def convert(converter: Path, folder: Path, graphs: List[GraphFile], target: str) -> AscendGraphs:
    """Compiles every graph into ``folder/ascend`` for ``target`` (910, 910B3, ...), for the manifest.

    Raises:
        BundleError: the converter failed; carries its last line.
    """
    (folder / ASCEND).mkdir()
    settings = folder / ASCEND / "converter.cfg"
    settings.write_text(f"[ascend_context]\nprecision_mode={_PRECISION_MODE}\n", encoding="utf-8")
    optimize = f"ascend_oriented:{target}"
    entries: List[GraphFile] = []
    for graph in graphs:
        compiled = folder / ASCEND / graph["file"]
        command = [
            str(converter),
            "--fmk=MINDIR",
            "--saveType=MINDIR",
            f"--optimize={optimize}",
            f"--modelFile={folder / graph['file']}",
            f"--outputFile={compiled.with_suffix('')}",
            f"--configFile={settings}",
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode or not compiled.is_file():
            lines = done.stdout.decode(errors="replace").strip().splitlines() or ["no output"]
            raise BundleError(
                f"{converter.name} failed on {graph['file']} ({lines[-1]}); nothing was written"
            )
        entries.append(
            {
                "file": f"{ASCEND}/{compiled.name}",
                "graph": graph["graph"],
                "batch": graph["batch"],
                "sha256": sha256_of(compiled),
                "bytes": compiled.stat().st_size,
            }
        )
    settings.unlink()
    return {"optimize": optimize, "precision_mode": _PRECISION_MODE, "graphs": entries}
