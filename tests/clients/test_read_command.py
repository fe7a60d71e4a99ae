"""`abinet read` as a user calls it: against a running service, and with one of its own."""

from __future__ import annotations

import contextlib
import csv
import datetime
import html.parser
import http.server
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import lmdb
import numpy as np
import pytest

from abinet_client import Client, Outcome, Reading
from abinet_client.batch import reading
from abinet_client.batch.folder import read_folder
from abinet_client.batch.report import CROPS, Report
from abinet_client.batch.report_style import STYLE
from abinet_client.batch.sources import Inputs, Item
from models.data.sets.lmdb import LmdbWriter
from service.cli import main
from service.engines.simulated import TEXT
from tests.support.empty_bundle import empty_bundle
from tests.support.processes import descendants
from tests.support.tiny_service import ServiceProcess, crop, encoded, shared_service

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "service", "read"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return empty_bundle(tmp_path_factory.mktemp("bundle")).folder


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    folder = tmp_path / "crops"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(encoded(crop(number)))
    (folder / "broken.jpg").write_bytes(b"no image")
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_crop_has_a_row_in_order_and_a_broken_one_has_an_error(
    crops: Path, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "rows.csv"
    assert main(["read", str(crops), "--url", url, "-o", str(output)]) == 1
    found = [(Path(row["path"]).name, row["text"], bool(row["error"])) for row in rows(output)]
    assert found == [
        ("0.png", TEXT, False),
        ("1.png", TEXT, False),
        ("2.png", TEXT, False),
        ("broken.jpg", "", True),
    ]
    told = capsys.readouterr().err
    assert told.startswith("abinet: 4 crops in ")
    assert "; 1 could not be read" in told


def test_a_program_has_the_rows_as_an_iterator_and_may_go_on(crops: Path, url: str) -> None:
    with Client(url) as client:
        first = list(itertools.islice(read_folder(client, crops), 2))
        assert [(Path(row.path).name, row.text, row.iterations) for row in first] == [
            ("0.png", TEXT, None),
            ("1.png", TEXT, None),
        ]
        rest = read_folder(client, [crops], done={row.path for row in first}, detail=True, iterations=1)
        last, broken = rest
        assert (Path(last.path).name, len(last.iterations or ())) == ("2.png", 2)
        assert (Path(broken.path).name, broken.text) == ("broken.jpg", None)
        assert broken.error
        with pytest.raises(ValueError, match="no image there"):
            read_folder(client, crops / "nothing*")


SAID = ("text", "confidence", "turned", "iterations")


@pytest.mark.parametrize("turns", ["auto", "none", "all"])
def test_crops_are_turned_as_in_single_requests(crops: Path, turns: str, capfdbinary: Any) -> None:
    running, tall = shared_service(), crop(3).transpose(1, 0, 2)
    (crops / "tall.png").write_bytes(encoded(tall))
    command = ["read", str(crops / "tall.png"), "--turns", turns, "--detail", "--format", "jsonl"]
    assert main([*command, "--url", base(running)]) == 0
    row = json.loads(capfdbinary.readouterr().out)
    alone = running.read(tall, turns=turns).json()
    assert {name: row[name] for name in SAID} == {name: alone[name] for name in SAID}


def test_the_texts_are_those_of_single_requests(crops: Path, capfdbinary: Any) -> None:
    running = shared_service()
    assert main(["read", str(crops / "0.png"), "--detail", "--format", "jsonl", "--url", base(running)]) == 0
    row = json.loads(capfdbinary.readouterr().out)
    alone = running.read(crop(0)).json()
    assert {name: row[name] for name in SAID} == {name: alone[name] for name in SAID}


def base(running: ServiceProcess) -> str:
    return str(running.client.base_url)


def test_resuming_reads_only_what_is_missing(
    crops: Path, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "rows.tsv"
    arguments = ["read", str(crops), "--url", url, "-o", str(output), "--resume"]
    main(arguments)
    whole = output.read_bytes()
    output.write_bytes(b"".join(whole.splitlines(keepends=True)[:2]) + b"half a r")
    capsys.readouterr()
    main(arguments)
    assert output.read_bytes() == whole
    assert "abinet: 3 crops in" in (told := capsys.readouterr().err)
    assert "1 skipped that the output already has" in told


def refused(capfd: Any, *arguments: str | Path) -> str:
    """The one line of a command that ends with exit code 2, and nothing on the standard output."""
    assert main(["read", *map(str, arguments)]) == 2
    told = capfd.readouterr()
    assert not told.out
    (line,) = told.err.splitlines()
    return str(line)


def test_a_folder_or_glob_without_an_image_is_a_mistake(tmp_path: Path, url: str, capfd: Any) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "empty.lst").write_text("")
    for nothing in (tmp_path, tmp_path / "*.png", tmp_path / "empty.lst"):
        assert refused(capfd, nothing, "--url", url).startswith(f"abinet: {nothing}: no image there (.png")
    assert refused(capfd, tmp_path, "--url", url, "-o", tmp_path / "rows.csv")
    assert not (tmp_path / "rows.csv").exists()


def test_a_picture_of_another_format_has_a_row_with_the_remedy(
    tmp_path: Path, url: str, capfdbinary: Any
) -> None:
    (tmp_path / "crop.jxl").write_bytes(b"\xff\x0a" + bytes(50))
    assert main(["read", str(tmp_path), "--url", url, "--format", "jsonl"]) == 1
    row = json.loads(capfdbinary.readouterr().out)
    assert row["error"] == "The bytes are a JPEG XL image, which is not read here: save it as PNG or JPEG."


@pytest.mark.parametrize("command", [COMMAND, [sys.executable, "-m", "abinet_client.batch.main"]])
def test_an_output_that_nobody_reads_any_more_ends_the_command_in_silence(
    command: list[str], crops: Path, url: str, tmp_path: Path
) -> None:
    (tmp_path / "list.txt").write_text(f"{crops}/0.png\n" * 3000)
    reading = [*command, "--url", url, str(tmp_path / "list.txt")]
    with subprocess.Popen(reading, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=PROJECT) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert (process.stderr.read(), process.wait(60)) == (b"", 0)


def test_the_output_may_be_a_dash_a_pipe_or_a_device(
    crops: Path, url: str, capfd: Any, tmp_path: Path
) -> None:
    arguments = ["read", str(crops / "0.png"), "--url", url, "-o"]
    assert main([*arguments, "-"]) == 0
    expected = capfd.readouterr().out
    assert expected.startswith("path\ttext")
    assert main([*arguments, "/dev/null"]) == 0
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", str(tmp_path / "pipe")], stdout=subprocess.PIPE, text=True) as reader:
        assert main([*arguments, str(tmp_path / "pipe")]) == 0
        assert reader.communicate()[0] == expected


def test_a_device_that_is_full_or_cannot_be_read_again_is_refused(crops: Path, url: str, capfd: Any) -> None:
    line = refused(capfd, crops, "--url", url, "-o", "/dev/full")
    assert line == "abinet: /dev/full: No space left on device"
    assert "cannot tell what it has" in refused(capfd, crops, "--url", url, "-o", "/dev/zero", "--resume")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--url", "localhost:8000"], "abinet: --url 'localhost:8000' is not like http://127.0.0.1:8000"),
        (["-o", "rows.json"], "abinet: rows.json: rows are a JSON object each, so name it rows.jsonl"),
    ],
)
def test_a_mistake_is_said_in_the_flags_own_name(
    crops: Path, capfd: Any, flags: list[str], said: str
) -> None:
    assert refused(capfd, crops, *flags) == said


class _Silent(http.server.BaseHTTPRequestHandler):
    """A service that is ready and never answers a crop."""

    was_asked = threading.Event()

    def do_GET(self) -> None:
        body = b'{"status":"ready"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.was_asked.set()
        time.sleep(60)


def test_ctrl_c_ends_while_an_answer_is_awaited_and_says_how_to_go_on(crops: Path, tmp_path: Path) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Silent) as silent:
        silent.daemon_threads = True
        threading.Thread(target=silent.serve_forever, daemon=True).start()
        url, rows = f"http://127.0.0.1:{silent.server_port}", tmp_path / "rows.csv"
        command = [*COMMAND, str(crops), "--url", url, "-o", str(rows)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert _Silent.was_asked.wait(60)
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=20)
        silent.shutdown()
    assert process.returncode == 130
    assert "stopped; the same command with --resume goes on" in told


def test_what_needs_a_person_goes_to_the_review_file_and_nowhere_else(crops: Path, tmp_path: Path) -> None:
    sure, unsure = tmp_path / "rows.csv", tmp_path / "rows.review.csv"
    arguments = ["read", str(crops), "--url", base(shared_service()), "-o", str(sure), "--min-confidence"]
    main([*arguments, "1"])
    assert rows(sure) == []
    assert len(rows(unsure)) == 4
    # Both files are what an earlier run has.
    main([*arguments, "1", "--resume"])
    assert len(rows(unsure)) == 4


def test_labels_give_an_accuracy_earlier_rows_included(
    crops: Path, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = crops / "labels.tsv"
    table.write_text(f"0.png\t{TEXT.upper()}!\n1.png\tother\nbroken.jpg\tcat\n")
    arguments = ["read", str(crops), "--url", url, "--labels", str(table), "-o", str(tmp_path / "rows.csv")]
    main(arguments)
    main([*arguments, "--resume"])
    lines = [line for line in capsys.readouterr().err.splitlines() if "accuracy" in line]
    assert (
        lines
        == [
            "abinet: accuracy: 50.00 % (1 of 2 labelled crops; left out: 1 unreadable, "
            "0 without a usable label)"
        ]
        * 2
    )


def test_an_lmdb_brings_its_labels(tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with LmdbWriter(tmp_path / "set") as writer:
        writer.write(encoded(crop()), TEXT)
    assert main(["read", str(tmp_path / "set"), "--url", url]) == 0
    assert "accuracy: 100.00 % (1 of 1 labelled crops)" in capsys.readouterr().err


def test_an_lmdb_may_be_a_single_file_whose_count_ends_with_a_line_break(
    tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = {b"num-samples": b"1\n", b"image-000000001": encoded(crop()), b"label-000000001": TEXT.encode()}
    path = tmp_path / "crops.lmdb"
    with lmdb.open(str(path), subdir=False) as environment, environment.begin(write=True) as transaction:
        for key, value in entries.items():
            transaction.put(key, value)
    for named in (path, tmp_path):
        assert main(["read", str(named), "--url", url]) == 0
        assert "accuracy: 100.00 % (1 of 1 labelled crops)" in capsys.readouterr().err


def test_the_bar_shows_crops_and_their_number(
    crops: Path, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["read", str(crops), "--url", url, "-o", str(tmp_path / "rows.csv"), "--progress"])
    *_, bar = capsys.readouterr().err.partition("abinet:")[0].split("\r")
    assert re.search(r"\b4(/4| crops) \[.*crops/s\]", bar)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--url", "http://127.0.0.1:9"], "No answer from http://127.0.0.1:9"),
        (["--url", "unix:/no/socket"], "No answer"),
        (["--url", "here"], "--url 'here' is not like"),
        (["--url", "http://127.0.0.1:9", "--engine", "lite"], "leave it out with --url"),
        (["--resume"], "--output"),
        (["--min-confidence", "0.5"], "--review"),
        (["--output", "rows.dat"], "--format"),
        (["--output", "/no/folder/rows.csv"], "/no/folder: no such folder"),
        (["--bundle", "/no/bundle"], "/no/bundle/manifest.json: No such file"),
    ],
)
def test_a_users_mistake_is_one_line(crops: Path, arguments: list[str], complaint: str) -> None:
    done = subprocess.run([*COMMAND, str(crops), *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    *_, line = done.stderr.splitlines()
    assert complaint in line
    assert "Traceback" not in done.stderr


def test_an_option_that_the_service_refuses_ends_the_run(
    crops: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["read", str(crops), "--url", url, "--iterations", "99"]) == 2
    assert "iterations" in capsys.readouterr().err


def test_a_service_that_starts_again_does_not_end_the_run(bundle: str, crops: Path, tmp_path: Path) -> None:
    socket = tmp_path / "socket"
    with contextlib.ExitStack() as stack:

        def serving() -> subprocess.Popen[bytes]:
            command = [sys.executable, "-m", "service", "serve", "--bundle", bundle, "--engine", "simulated"]
            process = subprocess.Popen([*command, "--uds", str(socket)], stderr=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        first = serving()
        wait_for_metric(socket, "abinet_ready 1.0")
        reading = stack.enter_context(started("-", "--url", f"unix:{socket}"))
        assert reading.stdin
        reading.stdin.write(f"{crops / '0.png'}\n".encode())
        reading.stdin.flush()
        wait_for_metric(socket, "abinet_crops_total 1.0")
        first.kill()
        first.wait()
        serving()
        told, _ = reading.communicate(f"{crops / '1.png'}\n".encode(), timeout=60)
        assert len(told.splitlines()) == 3
        assert reading.returncode == 0


def wait_for_metric(socket: Path, line: str) -> None:
    deadline = time.monotonic() + 60
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket))) as client:
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                if f"\n{line}\n" in client.get("http://localhost/metrics").text:
                    return
            time.sleep(0.05)
    pytest.fail(f"no {line}")


# A service of its own.


def started(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def all_gone(pids: Iterable[int]) -> bool:
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}/exe").exists() for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_without_a_url_it_starts_a_service_and_says_so(bundle: str, crops: Path) -> None:
    done = subprocess.run(
        [*COMMAND, str(crops), "--bundle", bundle, "--engine", "simulated"], capture_output=True, text=True
    )
    assert len(done.stdout.splitlines()) == 5
    assert done.stderr.startswith(f"abinet: starting a service for {bundle}\n")


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_leaves_whole_rows_and_no_service(
    bundle: str, crops: Path, tmp_path: Path, number: int, exit_code: int
) -> None:
    output, report = tmp_path / "rows.csv", tmp_path / "report.html"
    arguments = ["--bundle", bundle, "--engine", "simulated", "-o", str(output), "--report", str(report)]
    with started("-", *arguments) as process:
        assert process.stdin
        process.stdin.write(f"{crops / '0.png'}\n{crops / '1.png'}\n".encode())
        process.stdin.flush()
        while len(serving := descendants(process.pid)) < 2:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(60) == exit_code
    assert all_gone(serving)
    assert output.read_text().endswith("\n")
    assert report.exists()


def test_a_killed_run_takes_its_service_along(bundle: str) -> None:
    with started("-", "--bundle", bundle, "--engine", "simulated") as process:
        assert process.stdin
        process.stdin.write(b"a.png\n")
        process.stdin.flush()
        while len(serving := descendants(process.pid)) < 2:
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
    assert all_gone(serving)


def test_the_socket_is_this_users_alone(bundle: str) -> None:
    from abinet_client.local_service import local_service

    with local_service(["--bundle", bundle, "--engine", "simulated"]) as address:
        socket = Path(address.removeprefix("unix:"))
        assert socket.is_socket()
        assert os.stat(socket.parent).st_mode & 0o777 == 0o700
    assert not socket.parent.exists()


# A million crops.

READING = Reading.model_validate(
    {
        "text": "word",
        "confidence": 0.9,
        "iterations": [{"stage": "vision", "text": "word", "confidence": 0.9, "characters": []}],
        "stopped_at": 0,
        "timings_ms": dict.fromkeys(("decode", "queue", "batch", "vision", "refine", "encode", "total"), 0),
        "model": {"name": "m", "version": "1"},
    }
)


def test_memory_does_not_grow_with_the_number_of_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        def __init__(self, folder: str, number: int) -> None:
            self.name = f"{number:09d}.png"
            self.path = f"{folder}/{self.name}"

        def is_dir(self) -> bool:
            return False

        def is_file(self) -> bool:
            return True

    class Simulated(Client):
        def read_many(self, images: Iterable[Any], **_: Any) -> Iterator[Outcome]:
            return (Outcome(image, READING, None) for image in images)

    def peak(crops: int) -> int:
        """Bytes, at most, beyond those at the start."""

        @contextlib.contextmanager
        def listing(folder: str) -> Iterator[Iterator[Entry]]:
            yield (Entry(folder, number) for number in range(crops))

        monkeypatch.setattr(os, "scandir", listing)
        monkeypatch.setattr(os.path, "isdir", lambda folder: True)
        report = Report(0.5)
        tracemalloc.start()
        done = 0
        for item, result, error, _ in reading.read_items(Simulated(), Inputs(["/"]), {}):
            report.add(item, result, error)
            done += 1
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert done == crops
        return most

    assert peak(60_000) < peak(15_000) + (1 << 20)


# The report.


class Page(html.parser.HTMLParser):
    """The texts of a page's cards, and whatever it would load."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.cards: list[str] = []
        self.loads: list[str] = []
        self._in_list = False
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._in_list = self._in_list or tag == "ol"
        if tag == "li" and self._in_list:
            self.cards.append("")
        self.loads += [value or "" for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        if self.cards:
            self.cards[-1] += data


def test_the_report_shows_the_least_certain_first_and_loads_nothing(crops: Path, tmp_path: Path) -> None:
    (crops / "<b>.png").write_bytes(encoded(crop(7)))
    report, output = tmp_path / "report.html", tmp_path / "rows.csv"
    main(["read", str(crops), "--url", base(shared_service()), "-o", str(output), "--report", str(report)])
    page = Page(report)
    by_doubt = sorted(rows(output), key=lambda row: float(row["confidence"] or -1))
    assert len(page.cards) == 5
    assert all(row["path"] in card for row, card in zip(by_doubt, page.cards, strict=True))
    assert all("iteration 3" in card for card in page.cards[1:])
    assert len(page.loads) == 4
    assert all(load.startswith("data:image/jpeg;base64,") for load in page.loads)


def test_the_report_says_what_was_read_with_what_and_how_well(crops: Path, tmp_path: Path) -> None:
    report, labels = tmp_path / "report.html", tmp_path / "labels.tsv"
    labels.write_text("0.png\tno such word\n1.png\tnor this\n")
    model = shared_service().client.get("/v1/model").json()
    options = ["--labels", str(labels), "--iterations", "1", "--early-stop", "-o", str(tmp_path / "rows.csv")]
    main(["read", str(crops), "--url", base(shared_service()), "--report", str(report), *options])
    text = report.read_text()
    for told in (
        f"<dt>Model<dd>{model['name']} {model['version']}",
        f"<dt>Date<dd>{datetime.date.today():%Y-%m-}",
        f"<dt>Source<dd>{crops}<",
        f"<dt>Service<dd>{base(shared_service())}<",
        "<dt>Settings<dd>iterations 1, early stop on, turns auto<",
        "<b>0.00 %</b> right (0 of 2 labelled)",
    ):
        assert told in text


def test_a_report_replaces_nothing_but_a_report(
    crops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "labels.tsv"
    labels.write_text("0.png\tsimulated\n")
    for taken in (labels, crops / "0.png", crops, Path("/dev/null")):
        before = taken.stat()
        assert main(["read", str(crops), "--labels", str(labels), "--report", str(taken)]) == 2
        assert f"{taken}: exists already and is no report" in capsys.readouterr().err
        assert taken.stat()[:7] == before[:7]
    command = ["read", str(crops), "--url", base(shared_service()), "--report", str(tmp_path / "report.html")]
    assert [main(command), main(command)] == [1, 1]


def test_the_report_enlarges_tiny_crops_to_whole_multiples(tmp_path: Path) -> None:
    report = Report(None)
    for name, (height, width) in {"tiny": (20, 60), "large": (300, 900)}.items():
        image = tmp_path / f"{name}.png"
        image.write_bytes(encoded(np.full((height, width, 3), 99, np.uint8)))
        report.add(Item(name, str(image)), READING, None)
    report.write(str(tmp_path / "report.html"))
    text = (tmp_path / "report.html").read_text()
    assert re.findall(r"alt='' width=(\d+)( class=pixels)?", text) == [("240", " class=pixels"), ("240", "")]


def test_the_report_has_the_colours_of_the_page() -> None:
    page = (PROJECT / "service" / "web" / "style.css").read_text()
    colour = re.compile(r"(--[\w-]+): (#\w+)")
    light, dark = (dict(colour.findall(part)) for part in page.split("prefers-color-scheme: dark")[:2])
    ours_light, ours_dark = (dict(colour.findall(part)) for part in STYLE.split("prefers-color-scheme: dark"))
    assert ours_light.items() <= light.items()
    assert ours_dark.items() <= dark.items()


def test_the_report_has_a_bounded_number_of_crops_and_says_so(tmp_path: Path) -> None:
    report = Report(0.5)
    for number in range(CROPS + 20):
        sure = READING.model_copy(update={"confidence": number / 1000})
        report.add(Item(f"{number}.png"), sure, None)
    report.write(str(tmp_path / "report.html"))
    page = Page(tmp_path / "report.html")
    assert len(page.cards) == CROPS
    assert f"{CROPS - 1}.png" in page.cards[-1]
    assert (
        f"The {CROPS} least certain of {CROPS + 20} crops are shown" in (tmp_path / "report.html").read_text()
    )
