"""Makes the Python 3.7 environment in which MindSpore 2.0.0 exports what MindSpore Lite 2.0.0 runs.

``python -m export.lite_environment [DIRECTORY]``: PyPI's only MindSpore Lite is 2.0.0, its wheels are for
CPython 3.7, and it reads only graphs that MindSpore 2.0.0 wrote. requirements-lite.lock pins both.
"""

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Iterator, List, Optional

REQUIREMENTS = Path(__file__).with_name("requirements-lite.lock")
DIRECTORY = Path(".venv-lite")
_WHO_ARE_YOU = "import sys; print(sys.executable if sys.version_info[:2] == (3, 7) else '')"


class LiteEnvironmentError(OSError):
    """The environment cannot be made on this machine; the message says why."""


def make(directory: Path = DIRECTORY, python: Optional[str] = None) -> Path:
    """Makes the environment unless it is there and up to date; returns its interpreter.

    `python` is the Python 3.7 to use. Without it: the one that ABINET_PYTHON37 names, pyenv's, one on the
    PATH, one that uv has or can install. Raises LiteEnvironmentError.
    """
    interpreter = directory.absolute() / "bin" / "python"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    with REQUIREMENTS.open() as requirements:
        fcntl.flock(requirements, fcntl.LOCK_EX)  # two test runs may start at once
        stamp = directory / "requirements.sha256"
        if interpreter.exists() and stamp.exists() and stamp.read_text() == wanted:
            return interpreter
        unfinished = directory.with_name(directory.name + "-unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        _install(find_python37(python), unfinished)
        (unfinished / stamp.name).write_text(wanted)
        shutil.rmtree(directory, ignore_errors=True)
        unfinished.rename(directory)
    return interpreter


def find_python37(python: Optional[str] = None) -> str:
    """The full path of a Python 3.7, never a version manager's shim, which uv cannot use."""
    chosen = python or os.environ.get("ABINET_PYTHON37")
    for candidate in [chosen] if chosen else _candidates():
        try:
            full_path = _run([candidate, "-c", _WHO_ARE_YOU], timeout_s=30)
        except LiteEnvironmentError:
            continue
        if full_path:
            return full_path
    if chosen:
        raise LiteEnvironmentError(f"{chosen} is not a Python 3.7 interpreter")
    raise LiteEnvironmentError(
        "no Python 3.7 here, and uv could not install one; give the path of one in ABINET_PYTHON37"
    )


def _candidates() -> Iterator[str]:
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(map(str, pyenv.glob("versions/3.7.*/bin/python3.7")), reverse=True)
    for folder in os.get_exec_path():
        yield os.path.join(folder, "python3.7")
    for prepare in ([], ["python", "install", "--quiet", "--no-bin", "3.7"]):
        try:
            if prepare:
                _run([_uv(), *prepare], timeout_s=180)
            yield _run([_uv(), "python", "find", "--managed-python", "--no-project", "3.7"], timeout_s=30)
        except LiteEnvironmentError:
            continue


def _install(python: str, directory: Path) -> None:
    """Fills `directory` with the pinned packages and checks that they can be imported."""
    interpreter = str(directory / "bin" / "python")
    venv = [_uv(), "venv", "--quiet", "--no-project", "--relocatable", "--python", python, str(directory)]
    sync = [_uv(), "pip", "sync", "--quiet", "--require-hashes", "--python", interpreter, str(REQUIREMENTS)]
    try:
        _run(venv, timeout_s=60)
        _run(sync, timeout_s=900)
        # Isolated: nothing of the folder that the user is in.
        _run([interpreter, "-I", "-c", "import mindspore, mindspore_lite, cv2"], timeout_s=120)
    except LiteEnvironmentError:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def _uv() -> str:
    """uv's path; ``uv run`` tells its children in UV."""
    uv = os.environ.get("UV") or shutil.which("uv")
    if not uv:
        raise LiteEnvironmentError("uv is not on the PATH: python3 -m pip install uv")
    return uv


def _run(command: List[str], timeout_s: float) -> str:
    """The command's standard output; LiteEnvironmentError with its last words if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LiteEnvironmentError(str(error)) from None
    if done.returncode:
        said = " ".join(done.stderr.split())[-500:]
        raise LiteEnvironmentError(f"{' '.join(command[:3])} failed: {said}")
    return done.stdout.strip()


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "directory",
        type=Path,
        nargs="?",
        default=DIRECTORY,
        metavar="DIRECTORY",
        help="folder of the environment (default %(default)s)",
    )
    parser.add_argument(
        "--python", metavar="PYTHON", help="a Python 3.7 to use (default ABINET_PYTHON37, then a search)"
    )


def run(args: argparse.Namespace) -> int:
    """Makes the environment and prints its interpreter; returns the exit code."""
    print(make(args.directory, args.python))
    return 0


def main() -> int:
    """The command alone, on a machine that has Python and uv only."""
    parser = argparse.ArgumentParser(
        prog="python -m export.lite_environment",
        description="Make the Python 3.7 environment with MindSpore and MindSpore Lite 2.0.0.",
    )
    configure(parser)
    try:
        return run(parser.parse_args())
    except LiteEnvironmentError as error:
        print(f"abinet: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
