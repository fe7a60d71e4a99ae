"""Where settings come from, what they refuse, and how they are shown."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.engines.engine import ENGINES, KINDS
from service.settings.model import Settings
from service.settings.sources import EffectiveSettings, add_flags, as_toml, read_settings


@pytest.fixture(autouse=True)
def _nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ABINET_")]:
        monkeypatch.delenv(name)


def effective(*flags: str) -> EffectiveSettings:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_flags(parser)
    return read_settings(parser.parse_args(flags))


def settings(*flags: str) -> Settings:
    return effective(*flags).settings


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "abinet.toml"
    path.write_text('port = 1\nhost = "::1"\nmax_queue = 100\ndevices = ["cpu", "cpu"]\n')
    return path


def test_flags_go_before_the_environment_the_environment_before_the_file(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ABINET_PORT", "2")
    monkeypatch.setenv("ABINET_HOST", "0.0.0.0")
    found = effective("--config", str(config), "--port", "3")
    assert (found.settings.port, found.settings.host, found.settings.max_queue) == (3, "0.0.0.0", 100)
    assert found.settings.timeout_s == Settings().timeout_s
    assert found.origins == {
        "port": "--port",
        "host": "ABINET_HOST",
        "max_queue": f"{config}: max_queue",
        "devices": f"{config}: devices",
    }


def test_the_environment_can_name_the_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABINET_CONFIG", str(config))
    assert settings().port == 1


def test_an_empty_variable_is_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABINET_BUNDLE", "")
    assert settings().bundle is None


def test_settings_made_in_a_program_do_not_look_at_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABINET_PORT", "2")
    assert Settings().port == 8000


@pytest.mark.parametrize(
    ("given", "devices"),
    [
        ("cpu", ("cpu",)),
        ("cpu,cpu", ("cpu", "cpu")),
        ("ascend:0, ascend:1", ("ascend:0", "ascend:1")),
        ("0,1,2,3", ("ascend:0", "ascend:1", "ascend:2", "ascend:3")),
        ("ascend", ("ascend:0",)),
    ],
)
def test_devices_can_be_named_in_several_ways(given: str, devices: tuple[str, ...]) -> None:
    assert settings("--devices", given).devices == devices


def test_every_device_has_its_engine_options() -> None:
    first, second = settings("--devices", "2,5", "--engine", "lite", "--threads", "3").engine_options()
    assert (first.device, first.device_id, second.device_id) == ("ascend", 2, 5)
    assert (first.engine, first.threads) == ("lite", 3)


def test_the_workers_share_the_cores() -> None:
    cores = len(os.sched_getaffinity(0))
    assert settings("--devices", "cpu").engine_options()[0].threads == cores
    assert settings("--devices", "cpu,cpu").engine_options()[0].threads == max(1, cores // 2)
    options = settings("--devices", "0,cpu,1,cpu").engine_options()
    assert [(one.device, one.place, one.places) for one in options] == [
        ("ascend", 0, 2),
        ("cpu", 0, 2),
        ("ascend", 1, 2),
        ("cpu", 1, 2),
    ]


@pytest.mark.parametrize(
    ("cores", "given", "workers"),
    [
        (1, [], 1),
        (2, [], 2),
        (64, [], 2),
        (4, ["--threads", "4"], 1),
        (8, ["--engine", "simulated"], 1),
        (8, ["--devices", "cpu,cpu,cpu"], 3),
    ],
)
def test_without_devices_the_cpu_gets_two_workers_if_it_has_the_cores(
    cores: int, given: list[str], workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)))
    assert settings(*given).engine_devices == ("cpu",) * workers


def test_the_engines_and_graphs_are_those_that_there_are() -> None:
    assert Settings.model_fields["engine"].annotation.__args__ == ("auto", *ENGINES)  # type: ignore[union-attr]
    assert Settings.model_fields["graph"].annotation.__args__ == tuple(KINDS)  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["api", "admin"])
def test_keys_come_from_the_environment_and_a_file_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    (tmp_path / "keys").write_text("# the shop\nthird\n\n")
    variable = f"ABINET_{kind.upper()}_KEYS"
    monkeypatch.setenv(variable, "first, second")
    found = effective(f"--{kind}-keys-file", str(tmp_path / "keys"))
    keys = [key.get_secret_value() for key in getattr(found.settings, f"{kind}_keys")]
    assert keys == ["first", "second", "third"]
    assert f"# {kind}_keys: 3, not shown  # {variable} and --{kind}-keys-file" in as_toml(found)


def test_a_file_without_a_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("# none yet\n")
    with pytest.raises(ValueError, match="no key in it"):
        settings("--api-keys-file", str(tmp_path / "keys"))


@pytest.mark.parametrize("flag", ["--api-keys", "--admin-keys"])
def test_no_key_can_be_given_on_the_command_line(flag: str) -> None:
    with pytest.raises(SystemExit):
        settings(flag, "secret")


@pytest.mark.parametrize(
    ("limits", "complaint"),
    [
        ({"max_batch_items": 300}, "max_batch_items 300 is more than max_queue 256"),
        ({"max_body_bytes": 1000}, "max_body_bytes 1000 cannot hold the 64 images"),
        ({"devices": ("ascend:1", "1")}, "named twice"),
        ({"api_keys": ("a", "b"), "admin_keys": ("b",)}, "an API key is also one of admin_keys"),
    ],
)
def test_contradictions_are_refused(limits: dict, complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Settings(**limits)


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--port", "99999"], r"^--port 99999: .*65535"),
        (["--timeout-s", "0"], r"^--timeout-s 0: .*greater than 0"),
        (["--devices", "cpu,gpu"], r"^--devices cpu,gpu: 'gpu' is neither cpu nor ascend:N"),
        (["--max-queue", "3"], r"^max_batch_items 64 is more than max_queue 3"),
    ],
)
def test_a_fault_is_one_line_that_says_where_it_is(flags: list[str], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as error:
        settings(*flags)
    assert "\n" not in str(error.value)


def test_a_fault_in_the_environment_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABINET_PORT", "tcp://10.0.0.1:8000")
    with pytest.raises(ValueError, match=r"^ABINET_PORT tcp://10\.0\.0\.1:8000: "):
        settings()


def test_a_faulty_key_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABINET_API_KEYS", "secret,,other")
    with pytest.raises(ValueError, match=r"^ABINET_API_KEYS: ") as error:
        settings()
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("max_queu = 3", "abinet.toml: there is no setting max_queu; did you mean max_queue?"),
        ("port = ", "abinet.toml: not TOML"),
        ('port = "many"', "abinet.toml: port many: "),
        ("api_keys = 5", "abinet.toml: api_keys: "),
        ("[server]\nport = 1", "abinet.toml: there is no setting server"),
    ],
)
def test_a_fault_in_the_file_names_the_file(config: Path, text: str, complaint: str) -> None:
    config.write_text(text)
    with pytest.raises(ValueError, match=r"abinet\.toml") as error:
        settings("--config", str(config))
    assert complaint in str(error.value)


def test_a_file_that_is_not_there_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        settings("--config", "/no/such/abinet.toml")


def test_what_is_printed_can_be_read_again(tmp_path: Path) -> None:
    given = effective("--devices", "cpu,cpu", "--uds", "/tmp/a b.sock", "--no-access-log", "--threads", "3")
    printed = tmp_path / "printed.toml"
    printed.write_text(as_toml(given))
    assert settings("--config", str(printed)) == given.settings


def test_print_config_says_where_each_comes_from_and_keeps_keys_secret(config: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "service", "serve", "--config", str(config), "--port", "7", "--print-config"],
        env={**os.environ, "ABINET_API_KEYS": "secret,other"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = finished.stdout.splitlines()
    assert "port = 7  # --port" in lines
    assert f"max_queue = 100  # {config}: max_queue" in lines
    assert "timeout_s = 30.0  # default" in lines
    assert "# api_keys: 2, not shown  # ABINET_API_KEYS" in lines
    assert "secret" not in finished.stdout


def test_the_documented_settings_are_those_that_there_are(project: Path) -> None:
    lines = (project / "docs" / "operations.md").read_text(encoding="utf-8").splitlines()
    start = lines.index("| setting | default | meaning |") + 2
    documented = lines[start : lines.index("", start)]
    assert documented == [_row(name) for name in Settings.model_fields]


def _row(name: str) -> str:
    field = Settings.model_fields[name]
    default = field.default
    if name == "worker_python":
        shown = "the service's own "
    elif default is None or default == ():
        shown = ""
    else:
        words = ",".join(default) if isinstance(default, tuple) else str(default)
        shown = f"`{words.lower()}` "
    return f"| `{name}` | {shown}| {field.description} |"


@pytest.mark.parametrize("path", ["ocr", "/a b", "//host", "/v1", "/docs/ocr", "/..", "http://host"])
def test_a_prefix_that_is_none_or_the_services_own_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="no path such as /ocr"):
        Settings(root_path=path)


@pytest.mark.parametrize("proxies", ["proxy.example", "10.0.0.1/8", ""])
def test_a_proxy_that_is_no_address_is_refused(proxies: str) -> None:
    with pytest.raises(ValueError, match="trusted_proxies"):
        Settings(trusted_proxies=proxies)  # type: ignore[arg-type]
