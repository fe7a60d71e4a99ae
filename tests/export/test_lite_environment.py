"""Finding a Python 3.7 among shims, and what a failed installation leaves behind."""

import sys
from pathlib import Path

import pytest

from export.lite_environment import LiteEnvironmentError, find_python37, make

pytestmark = pytest.mark.slow


def script(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return path


def shim(path: Path) -> Path:
    """What a version manager leaves on the PATH for a version that is not chosen."""
    return script(path, "echo 'python3.7: command not found' >&2", "exit 127")


def interpreter(path: Path, itself: str) -> Path:
    """Says that `itself` is the full path of the Python 3.7 it is."""
    return script(path, f"echo {itself}")


@pytest.fixture(autouse=True)
def _nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No pyenv, nothing on the PATH, and a uv that cannot do anything."""
    monkeypatch.delenv("ABINET_PYTHON37", raising=False)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("UV", str(script(tmp_path / "uv", "echo 'no route to host' >&2", "exit 1")))


def test_without_a_python_37_the_error_says_how_to_name_one() -> None:
    with pytest.raises(LiteEnvironmentError, match="give the path of one in ABINET_PYTHON37"):
        find_python37()


def test_a_shim_that_leads_nowhere_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shim(tmp_path / "shims" / "python3.7")
    interpreter(tmp_path / "bin" / "python3.7", "/full/path/python3.7")
    monkeypatch.setenv("PATH", f"{tmp_path}/shims:{tmp_path}/bin")
    assert find_python37() == "/full/path/python3.7"


def test_pyenvs_version_is_found_behind_its_shims(tmp_path: Path) -> None:
    shim(tmp_path / "bin" / "python3.7")
    interpreter(tmp_path / "pyenv" / "versions" / "3.7.16" / "bin" / "python3.7", "/pyenv/python3.7")
    assert find_python37() == "/pyenv/python3.7"


def test_the_variable_comes_before_what_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interpreter(tmp_path / "bin" / "python3.7", "/found/python3.7")
    monkeypatch.setenv("ABINET_PYTHON37", str(interpreter(tmp_path / "mine", "/mine/python3.7")))
    assert find_python37() == "/mine/python3.7"


def test_uv_installs_one_where_none_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "installed"
    python = interpreter(tmp_path / "managed", "/uv/python3.7")
    uv = [
        f'if [ "$2" = install ]; then : > {installed}; exit; fi',
        f"if [ -e {installed} ]; then echo {python}; else exit 2; fi",
    ]
    monkeypatch.setenv("UV", str(script(tmp_path / "uv", *uv)))
    assert find_python37() == "/uv/python3.7"


def test_another_python_is_refused_by_its_name() -> None:
    with pytest.raises(LiteEnvironmentError, match=f"^{sys.executable} is not a Python 3.7 interpreter$"):
        find_python37(sys.executable)


def test_a_failed_installation_leaves_the_environment_as_it_was(tmp_path: Path) -> None:
    before = script(tmp_path / "lite" / "bin" / "python")
    python = interpreter(tmp_path / "bin" / "python3.7", "/full/path/python3.7")
    with pytest.raises(LiteEnvironmentError, match="no route to host"):
        make(tmp_path / "lite", str(python))
    assert before.exists()
    assert not list(tmp_path.glob("lite-*"))
