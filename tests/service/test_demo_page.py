"""The demo page in a real headless Chromium, around real services whose engine is simulated."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    FilePayload,
    Locator,
    Page,
    Response,
    Route,
    expect,
    sync_playwright,
)

from service.engines.simulated import TEXT
from tests.support.empty_bundle import empty_bundle
from tests.support.tiny_service import ServiceProcess, crop, encoded, service

pytestmark = [pytest.mark.browser, pytest.mark.slow]

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PNG = encoded(crop())
LARGEST = 100_000
"""Bytes of a crop."""
PHONE = {"width": 360, "height": 740}
SURE, DOUBTFUL = 0.99, 0.42
ENOUGH_MS = 30_000
READS = re.compile(r"/v1/read(/batch)?\?")
"""Requests that read one crop or several."""

_CONTRAST = (Path(__file__).parents[1] / "support" / "contrast.js").read_text(encoding="utf-8")

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    expect.set_options(timeout=ENOUGH_MS)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return empty_bundle(tmp_path_factory.mktemp("bundle")).folder


@contextlib.contextmanager
def simulated(bundle: str, *arguments: str, keys: str = "") -> Iterator[ServiceProcess]:
    fast = ("--engine", "simulated", "--simulated-ms", "0")
    with service("--bundle", bundle, *fast, *arguments, environment={"ABINET_API_KEYS": keys}) as running:
        yield running


@pytest.fixture(scope="module")
def quick(bundle: str) -> Iterator[ServiceProcess]:
    with simulated(bundle, "--max-body-bytes", str(LARGEST), "--max-batch-items", "5") as running:
        yield running


def url(running: ServiceProcess) -> str:
    return str(running.client.base_url)


@pytest.fixture
def open_page(browser: Browser, quick: ServiceProcess) -> Iterator[Open]:
    """Opens the page of a service; in the end, whatever the test did, nothing came from elsewhere or broke.

    A service's errors may break nothing; a breach of the page's policy is an error of its own.
    """
    contexts: list[BrowserContext] = []
    asked: set[str] = set()
    broken: list[str] = []

    def note(message: Any) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:
            broken.append(message.text)

    def opened(running: ServiceProcess = quick, **options: Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        context.on("request", lambda request: asked.add(request.url))
        page = context.new_page()
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.on("console", note)
        page.goto(url(running))
        return page

    yield opened
    for context in contexts:
        context.close()
    assert {urlsplit(one).hostname for one in asked if not one.startswith("blob:")} <= {"127.0.0.1"}
    assert broken == []


def file(name: str, content: bytes = PNG) -> FilePayload:
    return {"name": name, "mimeType": "image/png", "buffer": content}


def choose(page: Page, *files: FilePayload) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose crops").click()
    chooser.value.set_files(list(files))


def cards(page: Page, state: str = "") -> Locator:
    return page.locator(f".card[data-state={state}]" if state else ".card")


def card(page: Page, name: str) -> Locator:
    return page.get_by_role("article", name=name)


def stages(page: Page, name: str) -> Locator:
    """The rows of a card's table of stages that are shown."""
    return page.get_by_role("table", name=f"What each stage read in {name}").get_by_role("row")


def copied(card: Locator, label: str) -> str:
    """What is on the clipboard after a click on one of a card's buttons."""
    page = card.page
    page.locator("#announcer").evaluate("(announcer) => announcer.replaceChildren()")
    card.get_by_role("button", name=label).click()
    expect(page.locator("#announcer")).to_have_text(f"{label}: copied")
    text: str = page.evaluate("navigator.clipboard.readText()")
    return text


def word(text: str, *confidences: float) -> dict[str, Any]:
    pairs = zip(text, confidences or [SURE] * len(text), strict=True)
    characters = [{"character": character, "confidence": confidence} for character, confidence in pairs]
    return {"text": text, "confidence": SURE, "characters": characters}


def answer_with(
    page: Page,
    vision: dict[str, Any],
    *refinements: tuple[dict[str, Any], dict[str, Any]],
    turned: int = 0,
    **members: Any,
) -> None:
    """The simulated engine is always sure of the same word: puts another answer in the place of its own."""
    stages = [
        {"stage": "refinement", "iteration": number, "language": language, "fused": fused}
        for number, (language, fused) in enumerate(refinements, start=1)
    ]

    def replace(route: Route) -> None:
        response = route.fetch()
        if not response.ok:
            route.fulfill(response=response)
            return
        answer = response.json()
        for result in [item["result"] for item in answer.get("items", []) if "result" in item] or [answer]:
            result.update(iterations=[{"stage": "vision", **vision}, *stages], turned=turned, **members)
        route.fulfill(json=answer)

    page.route(READS, replace)


def test_several_chosen_files_are_read(open_page: Open) -> None:
    page = open_page()
    choose(page, file("one.png"), file("two.png"))
    expect(cards(page, "read")).to_have_count(2)
    expect(page.get_by_role("article")).to_contain_text(["one.png", "two.png"])
    expect(card(page, "two.png").locator(".final")).to_contain_text(TEXT)
    expect(page.locator("#announcer")).to_have_text("2 crops read, 0 failed")


_DROP = """(files) => {
    const data = new DataTransfer();
    for (const [name, bytes] of files) data.items.add(new File([new Uint8Array(bytes)], name));
    const event = (type) => new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer: data });
    document.body.dispatchEvent(event("dragover"));
    const shown = getComputedStyle(document.querySelector(".overlay")).display;
    document.body.dispatchEvent(event("drop"));
    return [shown, getComputedStyle(document.querySelector(".overlay")).display];
}"""


def test_dropped_files_are_read(open_page: Open) -> None:
    page = open_page()
    assert page.evaluate(_DROP, [["one.png", list(PNG)], ["two.png", list(PNG)]]) == ["grid", "none"]
    expect(cards(page, "read")).to_have_count(2)


def test_a_pasted_picture_is_read(open_page: Open) -> None:
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    page.evaluate(
        """(bytes) => navigator.clipboard.write(
            [new ClipboardItem({ "image/png": new Blob([new Uint8Array(bytes)], { type: "image/png" }) })]
        )""",
        list(PNG),
    )
    page.keyboard.press("Control+V")
    expect(cards(page, "read")).to_have_count(1)


def test_the_samples_are_read(open_page: Open) -> None:
    page = open_page()
    page.get_by_role("button", name="Read the sample telescope").click()
    expect(card(page, "telescope.png").locator(".final")).to_contain_text(TEXT)
    page.get_by_role("button", name="Read all samples").click()
    expect(cards(page, "read")).to_have_count(9)


def test_every_stage_is_shown_and_what_it_changed(open_page: Open) -> None:
    page = open_page()
    answer_with(
        page,
        word("clenns", SURE, SURE, SURE, DOUBTFUL, SURE, SURE),
        (word("cleand"), word("cleans")),
        (word("clean"), word("clean")),
    )
    choose(page, file("a.png"))
    rows = stages(page, "a.png")
    expect(rows).to_have_count(6)
    assert [re.sub(r"\s+", " ", text).strip() for text in rows.all_inner_texts()[1:]] == [
        "0 vision clenns; doubtful: n 42 % c l e n n s 99 %",
        "1 language cleand c l e a n d 99 %",
        "fused cleans c l e a n s 99 %",
        "2 language clean c l e a n · 99 %",
        "fused clean c l e a n · 99 %",
    ]
    marked = [row.locator(".moved").all_inner_texts() for row in rows.all()[1:]]
    assert marked == [[], ["a", "d"], ["a"], ["·"], ["·"]]
    assert rows.nth(1).locator("[data-band=weak]").all_inner_texts() == ["n"]
    expect(page.locator(".story")).to_have_text(
        "Vision read “clenns” (99.0 %); iteration 1 made it “cleans” (99.0 %), "
        "iteration 2 made it “clean” (99.0 %)."
    )


def test_a_words_confidence_is_the_answers_and_says_if_it_is_not_calibrated(open_page: Open) -> None:
    page = open_page()
    choose(page, file("a.png"))
    expect(card(page, "a.png").locator(".confidence")).to_contain_text("uncalibrated")

    def calibrated(route: Route) -> None:
        answer = route.fetch().json()
        model = {**answer["model"], "calibrated": True}
        route.fulfill(json={**answer, "confidence": 0.874, "model": model})

    page.route(READS, calibrated)
    choose(page, file("b.png"))
    expect(card(page, "b.png").locator(".confidence")).to_have_text("Confidence 87.4 %")


def test_an_empty_text_is_called_so(open_page: Open) -> None:
    page = open_page()
    answer_with(page, word(""))
    choose(page, file("blank.png"))
    expect(page.locator(".story")).to_have_text("Vision alone read no text (99.0 %).")


def test_a_turned_crop_is_called_so(open_page: Open) -> None:
    page = open_page()
    choose(page, file("a.png"))
    expect(card(page, "a.png")).not_to_contain_text("turned")
    answer_with(page, word("clean"), turned=270)
    choose(page, file("b.png"))
    expect(card(page, "b.png")).to_contain_text("turned left")


def test_the_options_go_with_the_crop(open_page: Open) -> None:
    page = open_page()
    page.get_by_role("radio", name="1", exact=True).check()
    page.get_by_role("checkbox", name="Stop early").check()
    with page.expect_request(READS) as request:
        choose(page, file("a.png"))
    assert urlsplit(request.value.url).query == "iterations=1&early_stop=true&alternatives=3"
    expect(card(page, "a.png")).to_contain_text("stopped early, after vision")
    page.get_by_role("checkbox", name="Stop early").uncheck()
    page.get_by_role("button", name="Read again").click()
    expect(card(page, "a.png").locator(".final")).to_contain_text(TEXT)
    expect(card(page, "a.png")).not_to_contain_text("stopped")


def test_a_crop_that_cannot_be_read_says_why_and_the_others_are_read(open_page: Open) -> None:
    page = open_page()
    choose(page, file("notes.txt", b"no picture"), file("half.png", PNG[:100]), file("whole.png"))
    expect(card(page, "notes.txt")).to_contain_text("The service cannot read files of this kind")
    expect(card(page, "half.png")).to_contain_text("The PNG image cannot be decoded")
    expect(card(page, "whole.png").locator(".final")).to_contain_text(TEXT)
    expect(page.locator("#tally")).to_have_text("1 read, 2 failed")


def test_a_file_that_is_too_large_is_called_so(open_page: Open) -> None:
    page = open_page()
    choose(page, file("photo.png", PNG + bytes(LARGEST)))
    expect(card(page, "photo.png")).to_contain_text(
        "The file is too large"
        "It has 107\u00a0kB; the service takes 100\u00a0kB. "
        "Cut the word out of the picture, or store it smaller."
    )
    expect(card(page, "photo.png").get_by_role("button", name="Try again")).to_have_count(0)


def test_a_picture_of_too_many_pixels_is_called_so(open_page: Open) -> None:
    page = open_page()
    choose(page, file("photo.png", encoded(np.zeros((4500, 6000), np.uint8))))
    expect(card(page, "photo.png")).to_contain_text(
        "The picture is too large"
        "It has 27 million pixels; the service takes 16 million. "
        "Cut the word out of the picture, or store it smaller."
    )


def test_more_crops_than_the_page_holds_are_named_with_the_command_for_folders(open_page: Open) -> None:
    page = open_page()
    page.route(READS, lambda route: None)
    page.evaluate(_DROP, [[f"{number}.png", [0]] for number in range(1300)])
    expect(page.get_by_role("alert")).to_contain_text("1,100 crops were left out")
    expect(page.get_by_role("alert")).to_contain_text("abinet read FOLDER")
    expect(cards(page)).to_have_count(200)


def test_several_crops_go_as_batches_within_the_limits_that_the_service_states(open_page: Open) -> None:
    page = open_page()
    expect(page.locator("#model")).to_contain_text("simulated engine")
    answers: list[Response] = []
    page.on("response", lambda response: answers.append(response) if READS.search(response.url) else None)

    def counts() -> list[int]:
        return [len(answer.json().get("items", [None])) for answer in answers]

    choose(page, *[file(f"{number}.png") for number in range(12)])
    expect(cards(page, "read")).to_have_count(12)
    assert sorted(counts()) == [2, 5, 5]
    answers.clear()
    choose(page, *[file(f"{number}.png", PNG + bytes(40_000)) for number in range(4)])
    expect(cards(page, "read")).to_have_count(16)
    assert counts() == [2, 2]


def test_what_is_refused_as_a_batch_is_read_alone(open_page: Open) -> None:
    page = open_page()
    page.route("**/v1/read/batch?*", lambda route: route.fulfill(status=413, body="too large for a proxy"))
    choose(page, *[file(f"{number}.png") for number in range(3)])
    expect(cards(page, "read")).to_have_count(3)


def test_the_page_says_what_it_reads(open_page: Open) -> None:
    page = open_page()
    expect(page.locator(".pitch")).to_contain_text("One picture, one word")
    expect(page.locator(".pitch")).to_contain_text(
        "English letters and digits (a\u2013z, 0\u20139), up to 25 of them"
    )


def test_what_is_hardly_one_word_has_a_hint(open_page: Open) -> None:
    page = open_page()
    photo = encoded(np.full((500, 600, 3), 255, np.uint8))
    choose(page, file("sure.png", photo))
    expect(card(page, "sure.png").locator(".hint")).to_be_hidden()
    answer_with(page, word("ee"), confidence=0.1)
    choose(page, file("photo.png", photo), file("word.png"))
    expect(card(page, "photo.png")).to_contain_text("This looks like a whole photo or page.")
    expect(card(page, "word.png").locator(".final")).to_contain_text("ee")
    expect(card(page, "word.png").locator(".hint")).to_be_hidden()
    answer_with(page, word("ee"), confidence=0.1, note="The crop may show several words.")
    choose(page, file("line.png"))
    expect(card(page, "line.png").locator(".hint")).to_have_text("The crop may show several words.")


def test_iterations_that_changed_nothing_are_folded(open_page: Open) -> None:
    page = open_page()
    choose(page, file("same.png"))
    expect(card(page, "same.png").locator(".story")).to_have_text(
        "Vision read it at once; 3 iterations kept it."
    )
    expect(stages(page, "same.png")).to_have_count(0)
    answer_with(page, word("ah"), (word("ab"), word("ab")), (word("ac"), word("ab")))
    choose(page, file("changed.png"))
    expect(stages(page, "changed.png")).to_have_text(
        [re.compile(text) for text in ("Iteration", "0vision", "1language", "fused")]
    )
    card(page, "changed.png").get_by_role("button", name="All iterations").click()
    expect(stages(page, "changed.png")).to_have_count(6)


def graded(page: Page) -> None:
    """Three crops: a.png of 0.9, b.png of 0.3 changed by an iteration, c.txt failed."""
    answer_with(page, word("=sure"), confidence=0.9)
    choose(page, file("a.png"))
    expect(cards(page, "read")).to_have_count(1)
    answer_with(page, word("d0ubt"), (word("doubt"), word("doubt")), confidence=0.3)
    choose(page, file("b.png"), file("c.txt", b"no picture"))
    expect(page.locator("#tally")).to_have_text("2 read, 1 failed")


def test_crops_are_sorted_and_filtered(open_page: Open) -> None:
    page = open_page()
    graded(page)
    names = page.locator(".card:visible h3")
    for order, expected in {
        "newest first": ["b.png", "c.txt", "a.png"],
        "least sure first": ["c.txt", "b.png", "a.png"],
        "surest first": ["a.png", "b.png", "c.txt"],
        "by name": ["a.png", "b.png", "c.txt"],
    }.items():
        page.get_by_role("combobox", name="Sort").select_option(order)
        expect(names).to_have_text(expected)
    for kind, expected in {
        "below 95 %": ["a.png", "b.png"],
        "below 50 %": ["b.png"],
        "changed by an iteration": ["b.png"],
        "failed": ["c.txt"],
    }.items():
        page.get_by_role("combobox", name="Show").select_option(kind)
        expect(names).to_have_text(expected)
    expect(page.locator("#tally")).to_have_text("2 read, 1 failed, 1 shown")


def test_all_texts_can_be_copied_and_downloaded(open_page: Open) -> None:
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    graded(page)
    assert copied(card(page, "b.png"), "Copy text") == "doubt"
    assert copied(page.locator("#exports"), "Copy texts") == "doubt\n=sure\n"

    def downloaded(name: str) -> str:
        with page.expect_download() as download:
            page.get_by_role("button", name=name).click()
        return Path(download.value.path()).read_bytes().decode()

    rows = list(csv.DictReader(io.StringIO(downloaded("Download CSV"))))
    assert [(row["path"], row["text"], row["confidence"]) for row in rows] == [
        ("b.png", "doubt", "0.3"),
        ("c.txt", "", ""),
        ("a.png", "'=sure", "0.9"),
    ]
    assert rows[1]["error"].startswith("The service cannot read files of this kind")
    items = json.loads(downloaded("Download JSON"))
    assert [item["name"] for item in items if "result" in item] == ["b.png", "a.png"]
    assert items[1]["error"]["title"] == "The service cannot read files of this kind"


def test_a_crop_can_be_removed(open_page: Open) -> None:
    page = open_page()
    choose(page, file("a.png"), file("b.png"))
    expect(cards(page, "read")).to_have_count(2)
    page.get_by_role("button", name="Remove a.png").click()
    expect(page.get_by_role("article")).to_contain_text(["b.png"])
    expect(card(page, "b.png")).to_be_focused()
    page.get_by_role("button", name="Remove b.png").click()
    expect(page.get_by_role("button", name="Choose crops")).to_be_focused()


def test_a_crop_can_be_enlarged(open_page: Open) -> None:
    page = open_page()
    choose(page, file("a.png"))
    page.get_by_role("button", name="Enlarge a.png").click()
    picture = page.get_by_role("dialog", name="a.png").get_by_role("img")
    assert picture.evaluate("(image) => [image.width % 90, image.width > 900]") == [0, True]
    page.keyboard.press("Escape")
    expect(picture).to_be_hidden()


def test_a_crop_can_be_turned_and_is_read_again(open_page: Open) -> None:
    page = open_page()
    choose(page, file("a.png"))
    expect(card(page, "a.png")).to_contain_text("90 \u00d7 24")
    bodies: list[bytes] = []

    def note(route: Route) -> None:
        bodies.append(route.request.post_data_buffer or b"")
        route.continue_()

    page.route(READS, note)
    card(page, "a.png").get_by_role("button", name="Turn").click()
    expect(card(page, "a.png")).to_contain_text("24 \u00d7 90")
    expect(card(page, "a.png").locator(".final")).to_contain_text(TEXT)
    sent = cv2.imdecode(np.frombuffer(bodies[0], np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(sent, np.rot90(crop(), -1))


def test_a_folder_is_read_with_all_below_it(open_page: Open, tmp_path: Path) -> None:
    page = open_page()
    (tmp_path / "crops" / "deeper").mkdir(parents=True)
    for name in ("2.png", "10.png", "deeper/3.png", "11.heic", "labels.tsv", ".hidden.png"):
        (tmp_path / "crops" / name).write_bytes(PNG)
    data = {"items": [], "files": [str(tmp_path / "crops")], "dragOperationsMask": 1}
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 200, "y": 200, "data": data})
    names = ["crops/2.png", "crops/10.png", "crops/11.heic", "crops/deeper/3.png"]
    expect(page.get_by_role("article").get_by_role("heading")).to_have_text(names)
    expect(page.get_by_role("alert")).to_have_text("1 file was passed over that is no picture by its name.")
    page.get_by_role("button", name="Clear").click()
    page.locator("#folder").set_input_files(str(tmp_path / "crops"))
    expect(page.get_by_role("article").get_by_role("heading")).to_have_text(names)


def test_a_folder_of_too_many_pictures_and_other_files_has_both_said(open_page: Open, tmp_path: Path) -> None:
    page = open_page()
    page.route(READS, lambda route: None)
    for number in range(201):
        (tmp_path / f"{number}.png").touch()
    (tmp_path / "labels.tsv").touch()
    page.locator("#folder").set_input_files(str(tmp_path))
    expect(page.get_by_role("alert")).to_contain_text(
        "1 file was passed over that is no picture by its name."
    )
    expect(page.get_by_role("alert")).to_contain_text("1 crops were left out")
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_role("alert")).to_be_hidden()


def test_clearing_stops_and_empties_the_page(open_page: Open) -> None:
    page = open_page()
    page.route(READS, lambda route: None)
    choose(page, *[file(f"{number}.png") for number in range(6)])
    page.get_by_role("button", name="Clear").click()
    expect(cards(page)).to_have_count(0)
    expect(page.get_by_role("button", name="Choose crops")).to_be_focused()
    page.unroute_all()
    choose(page, file("next.png"))
    expect(cards(page, "read")).to_have_count(1)


def test_markup_in_a_file_name_stays_text(open_page: Open) -> None:
    page = open_page()
    name = "<img src=x onerror=alert(1)>.png"
    choose(page, file(name))
    expect(page.get_by_role("heading", name=name)).to_be_visible()
    assert page.locator(".head h3 *").count() == 0


@pytest.fixture(scope="module")
def narrow(bundle: str) -> Iterator[ServiceProcess]:
    with simulated(bundle, "--max-queue", "1", "--max-batch-items", "1") as running:
        yield running


@contextlib.contextmanager
def filled(narrow: ServiceProcess) -> Iterator[Callable[[], None]]:
    """Its engine has stopped in the middle of a crop and another one waits; yields what lets it go on."""
    (worker,) = narrow.worker_pids()

    def go_on() -> None:
        os.kill(worker, signal.SIGCONT)

    os.kill(worker, signal.SIGSTOP)
    with ThreadPoolExecutor() as pool:
        sent = [pool.submit(narrow.read)]
        try:
            # Full when two are kept and the next one is refused.
            while not (sent[-1].done() and sum(not one.done() for one in sent) == 2):
                sent.append(pool.submit(narrow.read))
                wait(sent[-1:], timeout=0.2)
            yield go_on
        finally:
            go_on()


def test_overload_is_waited_out_in_sight(open_page: Open, narrow: ServiceProcess) -> None:
    page = open_page(narrow)
    with filled(narrow) as go_on:
        choose(page, file("a.png"))
        expect(card(page, "a.png")).to_contain_text("The service is busy. Trying again in 1\u00a0s")
        go_on()
        expect(card(page, "a.png").locator(".final")).to_contain_text(TEXT)


def test_overload_that_lasts_ends_in_a_clear_message(open_page: Open, narrow: ServiceProcess) -> None:
    page = open_page(narrow)
    page.clock.install()
    with filled(narrow):
        choose(page, file("a.png"))
        for left in ("5 tries left", "4 tries left", "3 tries left", "2 tries left", "the last time"):
            expect(card(page, "a.png")).to_contain_text(left)
            page.clock.run_for(1100)
        expect(card(page, "a.png")).to_contain_text("It stayed busy. Try again in a while.")
    card(page, "a.png").get_by_role("button", name="Try again").click()
    expect(card(page, "a.png").locator(".final")).to_contain_text(TEXT)


def test_as_long_as_others_are_read_a_crop_keeps_trying(open_page: Open) -> None:
    page = open_page()
    page.clock.install()
    full = {"type": "urn:abinet:problem:queue-full", "title": "Too many crops are waiting"}

    def answer(route: Route) -> None:
        if (route.request.post_data_buffer or b"").endswith(b"unlucky"):
            route.fulfill(status=429, json=full)
        else:
            route.continue_()

    page.route(READS, answer)
    choose(page, file("unlucky.png", PNG + b"unlucky"))
    expect(card(page, "unlucky.png")).to_contain_text("5 tries left")
    page.clock.run_for(1100)
    expect(card(page, "unlucky.png")).to_contain_text("4 tries left")
    choose(page, file("lucky.png"))
    expect(card(page, "lucky.png").locator(".final")).to_contain_text(TEXT)
    page.clock.run_for(1100)
    expect(card(page, "unlucky.png")).to_contain_text("5 tries left")


def test_one_banner_tells_of_a_stopped_service_and_all_crops_wait(open_page: Open, bundle: str) -> None:
    with simulated(bundle) as running:
        page = open_page(running)
        expect(page.get_by_role("status")).to_have_text("ready")
        port = str(running.client.base_url.port)
        running.stop()
        choose(page, *[file(f"{number}.png") for number in range(40)])
        expect(page.get_by_role("alert")).to_have_text(
            "The service cannot be reached. 40 crops wait and are read as soon as it is back."
        )
        expect(page.get_by_text("Waiting for the service")).to_have_count(40)
        expect(cards(page, "failed")).to_have_count(0)
        expect(page.get_by_role("status")).to_have_text("cannot be reached, trying again")
    with simulated(bundle, "--port", port):
        expect(page.get_by_role("status")).to_have_text("ready")
        expect(cards(page, "read")).to_have_count(40)
        expect(page.get_by_role("alert")).to_have_count(0)


def test_a_service_that_says_nothing_is_called_unreachable_and_found_again(open_page: Open) -> None:
    page = open_page()
    expect(page.get_by_role("status")).to_have_text("ready")
    page.route("**/health/ready", lambda route: None)
    expect(page.get_by_role("status")).to_have_text("cannot be reached, trying again")
    page.unroute_all()
    expect(page.get_by_role("status")).to_have_text("ready")


@pytest.fixture(scope="module")
def locked(bundle: str) -> Iterator[ServiceProcess]:
    with simulated(bundle, keys="sesame") as running:
        yield running


def test_a_key_is_asked_for_and_what_waits_for_it_is_read(open_page: Open, locked: ServiceProcess) -> None:
    page = open_page(locked)
    key = page.get_by_label("API key")
    expect(key).to_be_focused()
    choose(page, file("a.png"))
    expect(card(page, "a.png")).to_contain_text("Waiting for a key")
    key.fill("wrong")
    key.press("Enter")
    expect(page.get_by_text("The service does not know this key.")).to_be_visible()
    key.fill("sesame")
    key.press("Enter")
    expect(card(page, "a.png").locator(".final")).to_contain_text(TEXT)
    expect(page.locator("#model")).to_contain_text("simulated engine")
    expect(key).to_be_hidden()


def test_the_key_stays_in_the_tab_and_out_of_commands(open_page: Open, locked: ServiceProcess) -> None:
    page = open_page(locked, permissions=["clipboard-read", "clipboard-write"])
    page.get_by_label("API key").fill("sesame")
    page.get_by_role("button", name="Use key").click()
    choose(page, file("a.png"))
    command = copied(card(page, "a.png"), "Copy curl")
    assert "sesame" not in command
    assert '"Authorization: Bearer $ABINET_API_KEY"' in command
    assert page.evaluate("localStorage.length") == 0
    assert page.context.cookies() == []
    page.reload()
    expect(page.locator("#model")).to_contain_text("simulated engine")
    page.get_by_role("button", name="Forget key").click()
    expect(page.get_by_label("API key")).to_be_focused()
    assert page.evaluate("sessionStorage.length") == 0


def test_the_answer_can_be_copied_as_json(open_page: Open) -> None:
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    choose(page, file("a.png"))
    answer = json.loads(copied(card(page, "a.png"), "Copy JSON"))
    assert (answer["text"], len(answer["iterations"])) == (TEXT, 4)


def test_the_copied_commands_read_the_crops_in_a_shell(open_page: Open, tmp_path: Path) -> None:
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    names = ["a b.png", "it's; $(touch x) `y`.png", "-.png"]
    for name in names:
        (tmp_path / name).write_bytes(PNG)
    choose(page, *map(file, names))
    page.get_by_role("button", name="Read the sample cleans").click()
    for name in [*names, "cleans.png"]:
        command = copied(card(page, name), "Copy curl")
        done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True)
        assert json.loads(done.stdout)["text"] == TEXT, done.stderr
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted(names)


def test_the_latency_panel_follows_the_traffic(open_page: Open) -> None:
    page = open_page()
    choose(page, file("a.png"))
    panel = page.get_by_role("complementary", name="Latency")
    expect(panel).to_be_hidden()
    page.get_by_role("button", name="Latency").click()
    rows = panel.get_by_role("row")
    stages = ("Stage", "decode", "queue", "batch", "vision", "refine", "encode", "total")
    expect(rows).to_have_text([re.compile(stage) for stage in stages])
    expect(panel.get_by_role("img", name=re.compile("^vision: .* By crops in a call"))).to_be_visible()
    with page.expect_response("**/v1/latency"):
        panel.get_by_role("radio", name="5 minutes").check()


def test_everything_works_from_the_keyboard(open_page: Open) -> None:
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    expect(page.locator("#iterations input")).to_have_count(4)

    def tab_to(name: str) -> None:
        for _ in range(30):
            page.keyboard.press("Tab")
            focused = page.locator(":focus")
            if name in (focused.get_attribute("aria-label") or focused.inner_text()):
                return
        pytest.fail(f"no {name!r} to tab to")

    tab_to("Skip to the crops")
    tab_to("Choose crops")
    tab_to("Read the sample cleans")
    page.keyboard.press("Enter")
    expect(cards(page, "read")).to_have_count(1)
    tab_to("Read all samples")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("radio", name="2", exact=True)).to_be_checked()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.get_by_role("checkbox", name="Stop early")).to_be_checked()
    tab_to("Read again")
    page.keyboard.press("Enter")
    expect(cards(page, "read")).to_have_count(1)
    tab_to("Copy JSON")
    page.keyboard.press("Enter")
    expect(page.locator("#announcer")).to_have_text("Copy JSON: copied")


def test_the_focus_stays_at_a_crop_that_is_tried_again(open_page: Open) -> None:
    page = open_page()
    page.route(READS, lambda route: route.fulfill(status=500, json={"title": "The engine failed"}))
    choose(page, file("a.png"))
    card(page, "a.png").get_by_role("button", name="Try again").focus()
    page.unroute_all()
    page.keyboard.press("Enter")
    expect(card(page, "a.png").locator(".final")).to_contain_text(TEXT)
    expect(card(page, "a.png")).to_be_focused()


def test_a_screen_reader_finds_what_the_page_has(open_page: Open) -> None:
    page = open_page()
    choose(page, file("a.png"), file("b.png"))
    card(page, "a.png").get_by_role("button", name="All iterations").click()
    expect(page.locator("body")).to_match_aria_snapshot("""
        - banner:
          - heading "abinet" [level=1]
          - paragraph:
            - strong: empty
          - status: ready
          - navigation "More":
            - button "Latency"
            - link "Interface"
            - link "Metrics"
        - main:
          - region "Read cropped words":
            - heading "Read cropped words" [level=2]
            - button "Choose crops…"
            - button "Choose a folder…"
            - group "Samples":
              - button "Read the sample cleans"
              - button "Read all samples"
            - group "Iterations":
              - radio "0"
              - radio "3" [checked]
            - checkbox "Stop early if the reader is sure"
          - region "Crops":
            - heading "Crops" [level=2]
            - combobox "Sort"
            - combobox "Show"
            - group "All crops that are shown":
              - button "Copy texts"
              - button "Download CSV"
              - button "Download JSON"
            - button "Read again"
            - button "Clear"
            - list "Probability of a letter"
            - article "a.png":
              - button "Enlarge a.png"
              - heading "a.png" [level=3]
              - button "Remove a.png"
              - button "All iterations" [expanded]
              - table "What each stage read in a.png":
                - rowgroup:
                  - row "Iteration Stage Word Probability"
                - rowgroup:
                  - row /vision simulated/
              - button "Copy text"
              - button "Copy JSON"
              - button "Copy curl"
              - button "Turn"
            - article "b.png"
        """)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_the_contrast_that_wcag_aa_asks_for(open_page: Open, scheme: str) -> None:
    page = open_page(color_scheme=scheme)
    every_band = (0.99, 0.9, 0.7, 0.5, 0.2)
    answer_with(page, word("abcde", *every_band), (word("bbbbb", *every_band), word("abbde", *every_band)))
    choose(page, file("a.png"), file("b.txt", b"no picture"))
    expect(page.locator("#tally")).to_have_text("1 read, 1 failed")
    assert page.evaluate(_CONTRAST) == []


def test_a_phone_needs_no_sideways_scrolling(open_page: Open) -> None:
    page = open_page(viewport=PHONE, is_mobile=True, has_touch=True)
    longest = word("w" * 25)
    answer_with(page, longest, (longest, longest))
    choose(page, file("a very long file name of a crop that goes on and on and on.png"), file("b.png"))
    expect(cards(page, "read")).to_have_count(2)
    page.get_by_role("button", name="Latency").tap()
    expect(page.locator(".histogram").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    sideways = "(box) => box.getBoundingClientRect().right > innerWidth + 0.5"
    boxes = page.locator("body *:not(.unseen):not(.unseen *):not(.skip)")
    assert not boxes.evaluate_all(f"(boxes) => boxes.filter({sideways}).map((box) => box.outerHTML)")


def test_on_a_phone_the_first_word_is_in_view_in_one_line(open_page: Open) -> None:
    page = open_page(viewport=PHONE, is_mobile=True, has_touch=True)
    answer_with(page, word("w" * 25))
    page.get_by_role("button", name="Read all samples").tap()
    expect(cards(page, "read")).to_have_count(8)
    expect(cards(page).first.locator(".final")).to_be_in_viewport(ratio=1)
    tops = (
        cards(page).first.locator(".tiles .letter").evaluate_all("(all) => all.map((one) => one.offsetTop)")
    )
    assert len(set(tops)) == 1


def test_on_a_phone_what_is_pressed_has_44_pixels(open_page: Open) -> None:
    page = open_page(viewport=PHONE, is_mobile=True, has_touch=True)
    choose(page, file("a.png"), file("b.txt", b"no picture"))
    expect(page.locator("#tally")).to_have_text("1 read, 1 failed")
    page.get_by_role("button", name="Latency").tap()
    small = """(boxes) => boxes.filter((box) => box.checkVisibility() && box.type !== "checkbox")
        .map((box) => [box.outerHTML, box.getBoundingClientRect()])
        .filter(([, { width, height }]) => Math.min(width, height) < 43.5)"""
    pressed = page.locator("button, select, .top nav a, .check, fieldset label")
    assert pressed.evaluate_all(small) == []


def test_the_description_works_without_the_internet_and_within_the_policy(
    bundle: str, browser: Browser
) -> None:
    faults: list[str] = []
    asked: list[str] = []
    with simulated(bundle, "--root-path", "/ocr") as running:
        page = browser.new_page()
        page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{running.client.base_url}/ocr/docs")
        page.locator("#operations-read-read_v1_read_post").click()
        page.get_by_role("button", name="Try it out").click()
        page.locator("input[type=file]").set_input_files([file("a.png")])
        page.get_by_role("button", name="Execute").click()
        expect(page.locator(".responses-table.live-responses-table")).to_contain_text(TEXT)
        page.close()
        ours = f"{running.client.base_url}/ocr/"
    assert not faults
    assert [url for url in asked if not url.startswith((ours, "data:", "blob:"))] == []
