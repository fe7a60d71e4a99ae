"""What `abinet doctor` finds, with real interpreters and stand-ins for what only Ascend machines have."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from service.doctor.ascend import ascend_checks
from service.doctor.check import Check
from service.doctor.failures import remedy_for
from service.doctor.machine import address_check, library_checks, probe_import
from service.settings.model import Settings
from tests.support.empty_bundle import empty_bundle

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
BARE_PYTHON = str(Path(sys.base_prefix) / "bin" / "python3")
"""Without any package."""

CARDS = """
+------------------------------------------------------------------------------------------------+
| npu-smi 24.1.0                   Version: 24.1.0                                               |
+---------------------------+---------------+----------------------------------------------------+
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
| 0     910B3               | OK            | 93.6        42                0    / 0             |
| 0                         | 0000:C1:00.0  | 0           0    / 0          3391 / 65536         |
+===========================+===============+====================================================+
| 1     910B3               | Alarm         | 90.1        41                0    / 0             |
| 0                         | 0000:01:00.0  | 0           0    / 0          3391 / 65536         |
+===========================+===============+====================================================+
+---------------------------+---------------+----------------------------------------------------+
| NPU     Chip              | Process id    | Process name             | Process memory(MB)      |
+===========================+===============+====================================================+
| 0       0                 | 81442         | python                   | 2391                    |
+===========================+===============+====================================================+
"""


@pytest.fixture(autouse=True)
def _no_ascend(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME", "LD_LIBRARY_PATH"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def npu_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in on the PATH that prints two cards."""
    script = tmp_path / "npu-smi"
    write_script(script, f"cat <<'END'\n{CARDS}\nEND")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return script


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose packages every interpreter finds first."""
    (tmp_path / "mindspore.py").write_text("__version__ = '2.8.0'")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def write_script(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def ascend(*devices: str) -> dict[str, Check]:
    return {check.name: check for check in ascend_checks(Settings(devices=devices or ("cpu",)))}


def libraries(settings: Settings) -> dict[str, Check]:
    return {check.name: check for check in library_checks(settings)}


def doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service", "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ("ImportError: libge_runner.so: undefined symbol: _ZN2ge5GraphC1Ev", "belong together"),
        (
            "ImportError: libascendcl.so: cannot open shared object file: No such file",
            "libascendcl.so is not",
        ),
        ("[ERROR] acl open device 0 failed, ret 507033", "npu-smi info"),
        ("Save ge model to buffer failed, ret: 1343242270", "export the bundle again"),
        ("This software can only support the maximum mind ir version: 1", "of another MindSpore release"),
        ("/lib/libm.so.6: version `GLIBCXX_3.4.29' not found", "newer distribution"),
        ("ModuleNotFoundError: No module named 'mindspore_lite'", "install mindspore_lite"),
        ("the engine worker was ended by signal 7", "--shm-size"),
        ("the engine worker was ended by signal 9", "out of memory"),
        ("[ERROR] ME(1): AscendInit] Failed to register Ascend plugin", "the one of PyPI (2.0.0)"),
        ("RuntimeError: Unsupported device target Ascend. This process", "finds no Ascend runtime"),
        ("something that nobody has seen before", ""),
    ],
)
def test_the_usual_failures_are_explained_in_one_line(message: str, remedy: str) -> None:
    assert remedy in remedy_for(message)
    assert bool(remedy_for(message)) == bool(remedy)
    assert "\n" not in remedy_for(message)


def test_without_ascend_it_says_so_and_what_it_could_not_see() -> None:
    found = ascend()
    assert found["NPUs"].status == "missing"
    assert found["CANN"].status == "missing"
    assert found["Ascend run"].status == "unknown"


def test_without_ascend_a_wish_for_a_card_is_a_warning() -> None:
    assert {check.status for check in ascend("ascend:0").values()} == {"warning", "unknown"}


@pytest.mark.usefixtures("npu_smi")
def test_cards_are_listed_with_their_health() -> None:
    check = ascend("ascend:0")["NPUs"]
    assert (check.status, check.found) == ("ok", "0: 910B3 OK, 1: 910B3 Alarm")


@pytest.mark.usefixtures("npu_smi")
def test_a_card_that_is_ill_is_a_warning_where_it_is_wanted() -> None:
    check = ascend("ascend:1")["NPUs"]
    assert check.status == "warning"
    assert "-i 1" in check.remedy


@pytest.mark.usefixtures("npu_smi")
def test_a_card_that_is_not_there_is_named() -> None:
    check = ascend("ascend:0", "ascend:5")["NPUs"]
    assert check.status == "warning"
    assert "no card 5" in check.found
    assert "--devices 0,1" in check.remedy


def test_a_driver_that_fails_is_quoted(npu_smi: Path) -> None:
    write_script(npu_smi, "echo 'DrvMngGetConsoleLogLevel failed. (g_conLogLevel=3)'; exit 1")
    check = ascend("ascend:0")["NPUs"]
    assert "DrvMngGetConsoleLogLevel failed" in check.found
    assert "/dev/davinci" in check.remedy


def test_a_cann_is_recognised_by_its_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "aarch64-linux").mkdir()
    (tmp_path / "aarch64-linux" / "ascend_toolkit_install.info").write_text(
        "package_name=Ascend-cann-toolkit\nversion=8.0.RC2\ninnerversion=V100R001\n"
    )
    monkeypatch.setenv("ASCEND_HOME_PATH", str(tmp_path))
    check = ascend()["CANN"]
    assert check.status == "warning"
    assert check.found.startswith("8.0.RC2 in ")
    assert "set_env.sh" in check.remedy
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/lib:{tmp_path}/lib64")
    assert ascend()["CANN"].status == "ok"


def test_the_real_mindspore_is_imported() -> None:
    from importlib.metadata import version

    probe = probe_import(sys.executable, "mindspore")
    assert (probe.version, probe.failure) == (version("mindspore"), "")


def test_a_python_without_the_library_is_told_from_one_that_is_none() -> None:
    check = libraries(Settings(engine="mindspore", worker_python=BARE_PYTHON))["MindSpore"]
    assert (check.status, check.found) == ("failed", f"not installed for {BARE_PYTHON}")
    assert probe_import("/no/such/python", "mindspore").failure == "not a Python that can run"
    assert "not a Python" in probe_import("/bin/echo", "mindspore").failure


@pytest.mark.usefixtures("stand_in")
def test_a_library_that_the_engine_does_not_need_may_be_missing() -> None:
    found = libraries(Settings(engine="simulated", worker_python=BARE_PYTHON))
    assert all(check.status in ("ok", "missing") for check in found.values())


@pytest.mark.parametrize("release", ["2.9.0", "2.10.0"])
def test_a_mindspore_with_slow_convolutions_is_a_warning(stand_in: Path, release: str) -> None:
    (stand_in / "mindspore.py").write_text(f"__version__ = {release!r}")
    check = libraries(Settings())["MindSpore"]
    assert check.status == "warning"
    assert "40 times slower" in check.found
    assert "2.8.0" in check.remedy


def test_libraries_that_do_not_belong_together_are_explained(stand_in: Path) -> None:
    (stand_in / "mindspore_lite.py").write_text("raise ImportError('libge.so: undefined symbol: _ZN2ge')")
    check = libraries(Settings(engine="lite"))["MindSpore Lite"]
    assert check.status == "failed"
    assert "undefined symbol" in check.found
    assert "belong together" in check.remedy


def test_an_import_that_crashes_is_told_with_its_signal(stand_in: Path) -> None:
    (stand_in / "mindspore_lite.py").write_text("import os; os.kill(os.getpid(), 9)")
    assert libraries(Settings(engine="lite"))["MindSpore Lite"].found.endswith("was ended by signal 9")


def test_an_address_that_is_taken_is_a_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        check = address_check(Settings(port=listener.getsockname()[1]))
    assert check.status == "failed"


def test_checking_a_unix_socket_leaves_nothing_behind(tmp_path: Path) -> None:
    assert address_check(Settings(uds=tmp_path / "socket")).status == "ok"
    assert not list(tmp_path.iterdir())


def test_a_machine_that_can_serve_is_told_with_0(tmp_path: Path) -> None:
    empty_bundle(tmp_path)
    done = doctor("--engine", "simulated", "--bundle", str(tmp_path), "--port", free_port(), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["can_serve"] is True
    engine = told["checks"][-1]
    assert (engine["name"], engine["status"]) == ("engine on cpu", "ok")
    assert "simulated engine, ready after" in engine["found"]


def test_a_bundle_of_another_release_is_told_with_1_and_what_to_do(tmp_path: Path) -> None:
    empty_bundle(tmp_path)
    done = doctor("--bundle", str(tmp_path), "--port", free_port())
    assert done.returncode == 1
    assert "written by MindSpore none" in done.stdout
    assert "export the checkpoint with MindSpore 2." in done.stdout
    assert done.stdout.endswith("The service cannot serve with these settings.\n")
    assert "Traceback" not in done.stdout + done.stderr


def test_a_bundle_that_was_changed_is_told_with_1(tmp_path: Path) -> None:
    empty_bundle(tmp_path)
    (tmp_path / "vision_b1.mindir").write_bytes(b"changed")
    done = doctor("--engine", "simulated", "--bundle", str(tmp_path), "--port", free_port())
    assert done.returncode == 1
    assert "vision_b1.mindir: its sha256 is not the manifest's" in done.stdout


@pytest.mark.lite
def test_the_real_lite_is_imported(lite_python: Path) -> None:
    check = libraries(Settings(engine="lite", worker_python=str(lite_python)))["MindSpore Lite"]
    assert (check.status, check.found[:19]) == ("ok", "2.0.0 on Python 3.7")
