"""The `abinet` command: what it imports, and what a user's mistake looks like."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from service import cli
from service.terminal import Terminal

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINT = str(ROOT / "models/zoo/abinet_small_en.ckpt")
Failing = Callable[[BaseException], int]


def abinet(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "service", *arguments], capture_output=True, text=True)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Failing:
    """Puts a command `fail` into the table, which raises what it is given."""

    def with_error(error: BaseException) -> int:
        def run(_: object) -> int:
            raise error

        module = ModuleType("failing_command")
        module.configure = lambda parser: None  # type: ignore[attr-defined]
        module.run = run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "failing_command", module)
        monkeypatch.setitem(cli.COMMANDS, "fail", cli.Command("failing_command", "fail"))
        return cli.main(["fail"])

    return with_error


def test_help_lists_every_command_and_imports_none_of_them() -> None:
    program = (
        "import sys; from service.cli import main, COMMANDS\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'cv2', 'fastapi', 'mindspore', *(c.module for c in COMMANDS.values())}\n"
        "print('imported', sorted(heavy & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert all(re.search(rf"^    {name}\b", told, re.MULTILINE) for name in cli.COMMANDS)
    assert told.endswith("imported []\n")


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_can_be_configured_and_run(name: str) -> None:
    module = importlib.import_module(cli.COMMANDS[name].module)
    assert callable(module.configure)
    assert callable(module.run)


def test_the_version_is_that_of_the_package() -> None:
    from importlib.metadata import version

    assert abinet("--version").stdout == f"abinet {version('abinet-ascend')}\n"


@pytest.mark.parametrize("error", [ValueError("no\nsuch  thing"), OSError("no such thing")])
def test_a_users_mistake_is_one_line(
    failing: Failing, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    assert failing(error) == 2
    assert capsys.readouterr().err == "abinet: no such thing\n"


def test_an_error_of_the_file_system_names_the_file(
    failing: Failing, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failing(FileNotFoundError(2, "No such file or directory", "a.ckpt")) == 2
    assert capsys.readouterr().err == "abinet: a.ckpt: No such file or directory\n"


def test_debugging_shows_the_traceback(
    failing: Failing, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ABINET_DEBUG", "1")
    assert failing(ValueError("no such thing")) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_name_of_a_file_does_not_reach_the_terminal_as_it_is(
    failing: Failing, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failing(FileNotFoundError(2, "No such file", "a\x1b[2J\nb")) == 2
    assert failing(ValueError("a\x9b1m: no bundle")) == 2
    assert capsys.readouterr().err == "abinet: a\\x1b[2J b: No such file\nabinet: a\\x9b1m: no bundle\n"


def test_a_fault_of_ours_is_not_hidden(failing: Failing) -> None:
    with pytest.raises(ZeroDivisionError):
        failing(ZeroDivisionError())


def test_ctrl_c_ends_a_command_with_130(failing: Failing) -> None:
    assert failing(KeyboardInterrupt()) == 130


def test_a_reader_that_goes_away_is_no_error() -> None:
    program = "from service.cli import main; import sys; sys.exit(main(['--help']))"
    shell = f'"{sys.executable}" -c "{program}" | true; exit ${{PIPESTATUS[0]}}'
    finished = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert (finished.returncode, finished.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--bundle", "/no/such/folder"], "/no/such/folder/manifest.json: No such file"),
        (
            ["--bundle", CHECKPOINT],
            f"{CHECKPOINT}: a checkpoint; export it first: abinet export {CHECKPOINT}",
        ),
        (["--devices", "gpu"], "--devices gpu"),
        (["--bundle", "{loop}"], "Too many levels of symbolic links"),
        (["--threads", "0"], "--threads 0"),
        (["--host", "203.0.113.1"], "cannot listen on 203.0.113.1"),
        (["--port", "99999"], "99999"),
    ],
)
def test_a_service_that_cannot_start_says_why(arguments: list[str], complaint: str, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    arguments = [argument.format(loop=tmp_path / "loop") for argument in arguments]
    finished = abinet("serve", "--port", "0", *arguments)
    assert finished.returncode == 2
    (line,) = finished.stderr.splitlines()
    assert line.startswith("abinet: ")
    assert complaint in line


@pytest.mark.skipif(os.path.exists("/dev/davinci0"), reason="there is an Ascend NPU")
def test_without_an_ascend_npu_asking_for_one_is_one_line_with_the_remedy() -> None:
    from tests.support.tiny_service import tiny_bundle

    finished = abinet(
        "serve", "--port", "0", "--bundle", str(tiny_bundle()), "--devices", "0", "--engine", "mindspore"
    )
    assert finished.returncode == 2
    lines = [line for line in finished.stderr.splitlines() if not line.startswith("abinet: listening")]
    assert lines[-1].startswith("abinet: ")
    assert "Unsupported device target Ascend" in lines[-1]
    assert "source CANN's set_env.sh, or serve with --devices cpu" in lines[-1]
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize(
    ("arguments", "usage"),
    [
        (["serve", "--prot", "1"], "abinet serve"),
        (["data", "pack", "a", "--output", "b", "--jsn"], "abinet data pack"),
    ],
)
def test_an_unknown_flag_shows_the_usage_of_its_own_command(arguments: list[str], usage: str) -> None:
    finished = abinet(*arguments)
    assert finished.returncode == 2
    assert finished.stderr.startswith(f"usage: {usage} ")
    assert (
        f"error: unrecognized arguments: {arguments[-1] if 'pack' in arguments else '--prot 1'}"
        in finished.stderr
    )


def test_a_bundle_that_the_worker_refuses_ends_the_service() -> None:
    from tests.support.tiny_service import tiny_bundle

    finished = abinet("serve", "--port", "0", "--bundle", str(tiny_bundle()), "--worker-python", "/bin/false")
    assert finished.returncode == 2
    assert "exit code 1" in finished.stderr.splitlines()[-1]


def test_a_command_without_its_extra_says_what_to_install(
    failing: Failing, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failing(ModuleNotFoundError("No module named 'lmdb.cpython'", name="lmdb.cpython")) == 2
    assert capsys.readouterr().err == (
        "abinet: lmdb is not installed: run it as `uv run --extra train abinet ...`, "
        "or pip install 'abinet-ascend[train]'\n"
    )


def test_a_module_of_the_project_that_is_missing_is_no_mistake_of_the_user(failing: Failing) -> None:
    with pytest.raises(ModuleNotFoundError):
        failing(ModuleNotFoundError("No module named 'models.gone'", name="models.gone"))


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["service", "data", "stats", "{odd}"], "\\x1b[2Jset: 1 samples"),
        (["service", "data", "stats", "{odd}/gone"], "\\x1b[2Jset/gone"),
        (["service", "eval", "{odd}.ckpt", "{odd}"], "\\x1b[2Jset.ckpt"),
        (["service", "read", "{odd}", "--\x1b[31m"], "--\\x1b[31m"),
        (["export", "{odd}.ckpt", "--output", "x"], "\\x1b[2Jset.ckpt"),
        (["export", "a", "--output", "x", "--\x1b[31m"], "--\\x1b[31m"),
    ],
)
def test_a_terminal_is_shown_no_control_characters_of_names(
    words: list[str], shown: str, tmp_path: Path
) -> None:
    odd = tmp_path / "\x1b[2Jset"
    odd.mkdir()
    (odd / "labels.tsv").write_text("gone.png\tword\n")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", *(word.format(odd=odd) for word in words)]
    subprocess.run(command, stdout=theirs, stderr=theirs, cwd=ROOT)
    os.close(theirs)
    text = b""
    with contextlib.suppress(OSError):  # the end
        while part := os.read(ours, 1 << 16):
            text += part
    os.close(ours)
    assert shown.encode() in text
    assert b"\x1b" not in text


def test_a_progress_bar_moves_on_a_terminal_all_the_same() -> None:
    stream = io.StringIO()
    terminal = Terminal(stream)
    for text in ("\r50 %", "\r   \r", "a\rb", "\r", ""):
        terminal.write(text)
    assert stream.getvalue() == "\r50 %\r   \ra\\rb\r"
