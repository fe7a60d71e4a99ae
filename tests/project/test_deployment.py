"""The images and the compose file, as far as they can be checked without Docker.

.ci/cpu_image takes the CPU image's own steps and starts what they install.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from service.settings.model import Settings
from tests.support.empty_bundle import empty_bundle
from tests.support.tiny_service import service

pytestmark = pytest.mark.slow

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = Path(__file__).resolve().parents[2]
DOCKER = PROJECT / "docker"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
ENTRYPOINT = DOCKER / "ascend-entrypoint.sh"
PROJECT_TABLE = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))


def pins(lock: str) -> dict[str, set[str]]:
    """Every requirement line of a lock file, and its hashes."""
    text = (PROJECT / lock).read_text(encoding="utf-8")
    requirements = re.findall(r"(?m)^(\S+==[^\\\n]+?) *\\\n((?:    --hash=\S+(?: \\)?\n?)+)", text)
    return {line: set(re.findall(r"sha256:\w+", hashes)) for line, hashes in requirements}


def names(requirements: dict[str, set[str]]) -> set[str]:
    return {line.partition("==")[0] for line in requirements}


def compose() -> dict[str, Any]:
    """The compose file, its variables at their defaults."""
    text = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text))


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_has_nothing_to_say(dockerfile: Path) -> None:
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    done = subprocess.run([hadolint, "--no-color", dockerfile], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_what_an_image_copies_is_there_and_not_ignored(dockerfile: Path) -> None:
    ignore = (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = [line[1:] for line in ignore if line.startswith("!")]
    copies = re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", dockerfile.read_text(encoding="utf-8"))
    sources = {source for copy in copies for source in copy.split()}
    assert len(sources) > 5
    assert not [source for source in sources if not (PROJECT / source).exists()]
    # A folder is let in by the patterns below it.
    assert not [
        source
        for source in sources
        if not any(fnmatch.fnmatch(source, p) or p.startswith(source + "/") for p in allowed)
    ]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_runs_as_a_number_that_is_not_root_and_stops_with_sigterm(dockerfile: Path) -> None:
    last_stage = dockerfile.read_text(encoding="utf-8").rpartition("\nFROM ")[2]
    assert re.search(r"(?m)^USER [1-9]\d+:[1-9]\d+$", last_stage)
    assert "STOPSIGNAL SIGTERM" in last_stage
    assert "ABINET_HOST=0.0.0.0" in last_stage


def test_the_images_install_versions_that_were_tested() -> None:
    tested = pins("requirements.lock")
    for lock in ("docker/cpu.lock", "docker/ascend.lock"):
        installed = pins(lock)
        assert len(installed) > 20
        assert not {line for line in installed if tested.get(line) != installed[line]}


def test_the_cpu_image_installs_what_the_project_depends_on_and_nothing_for_training() -> None:
    versions = {line.partition(" ;")[0] for line in pins("docker/cpu.lock")}
    wanted = {requirement.partition(";")[0] for requirement in PROJECT_TABLE["project"]["dependencies"]}
    wanted -= {"abinet-client[batch]"}  # built here, as the project itself is
    assert wanted <= versions
    assert not names(pins("docker/cpu.lock")) & {"fonttools", "matplotlib", "pytest", "abinet-client"}


def test_the_ascend_image_installs_the_same_without_mindspore() -> None:
    cpu, ascend = pins("docker/cpu.lock"), pins("docker/ascend.lock")
    assert ascend.items() <= cpu.items()
    depends_on = {re.split(r"[=;\[]", line)[0] for line in PROJECT_TABLE["project"]["dependencies"]}
    assert depends_on - names(ascend) == {"mindspore", "abinet-client"}


def test_the_images_build_the_wheel_with_the_pinned_hatchling() -> None:
    assert set(PROJECT_TABLE["build-system"]["requires"]) <= pins("docker/build.lock").keys()


def test_the_health_check_tells_a_ready_service_from_none(tmp_path: Path) -> None:
    def health(port: str) -> tuple[int, str]:
        command = [sys.executable, "-I", str(DOCKER / "healthcheck.py")]
        # A proxy that is not there: the check must not ask it.
        environment = {**os.environ, "ABINET_PORT": port, "http_proxy": "http://127.0.0.1:9"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        return done.returncode, done.stderr

    empty_bundle(tmp_path)
    with service("--bundle", str(tmp_path), "--engine", "simulated") as running:
        port = str(running.client.base_url.port)
        assert health(port) == (0, "")
    code, said = health(port)
    assert code == 1
    assert said == f"127.0.0.1:{port}: [Errno 111] Connection refused\n"


def entrypoint(tmp_path: Path, set_env: Path) -> subprocess.CompletedProcess[str]:
    """The Ascend image's entry point with an `abinet` that shows what it was started with."""
    abinet = tmp_path / "abinet"
    abinet.write_text('#!/bin/sh\necho "$$ $CANN $LD_LIBRARY_PATH $*"\n')
    abinet.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "ASCEND_SET_ENV": str(set_env)}
    with subprocess.Popen(
        [ENTRYPOINT, "serve", "--port", "0"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        out, err = process.communicate()
    return subprocess.CompletedProcess([str(process.pid)], process.returncode, out, err)


def test_the_ascend_image_sets_cann_up_and_becomes_the_service(tmp_path: Path) -> None:
    set_env = tmp_path / "set_env.sh"
    set_env.write_text("export CANN=found LD_LIBRARY_PATH=/cann/lib64:$LD_LIBRARY_PATH\n")
    done = entrypoint(tmp_path, set_env)
    driver = "/usr/local/Ascend/driver/lib64"
    libraries = f"/cann/lib64:{driver}:{driver}/common:{driver}/driver"
    assert done.stdout == f"{done.args[0]} found {libraries} serve --port 0\n"


def test_the_ascend_image_without_cann_says_so_in_one_line(tmp_path: Path) -> None:
    done = entrypoint(tmp_path, tmp_path / "set_env.sh")
    assert done.returncode == 2
    assert re.fullmatch(r"abinet: \S+set_env.sh is not there: .*ASCEND_SET_ENV\n", done.stderr)


def test_the_compose_file_is_one_by_the_specification() -> None:
    parsed = PyCompose.from_json(json.dumps(compose()))
    parsed.validate()
    assert set(parsed.service_names()) == {"abinet", "prometheus", "grafana"}


def test_no_service_of_the_compose_file_can_do_more_than_it_needs() -> None:
    for name, settings in compose()["services"].items():
        assert settings["read_only"], name
        assert settings["cap_drop"] == ["ALL"], name
        assert settings["security_opt"] == ["no-new-privileges:true"], name
        assert settings["mem_limit"], name
        assert all(port.startswith("127.0.0.1:") for port in settings["ports"]), name


def test_what_the_compose_file_mounts_is_there() -> None:
    mounts = [mount for settings in compose()["services"].values() for mount in settings.get("volumes", [])]
    paths = [mount.partition(":")[0] for mount in mounts if mount.startswith("./")]
    assert len(paths) == 4
    assert all((DOCKER / path).exists() for path in paths)


def test_compose_waits_longer_than_the_service_drains() -> None:
    grace = compose()["services"]["abinet"]["stop_grace_period"]
    assert float(grace.removesuffix("s")) > Settings().drain_s
