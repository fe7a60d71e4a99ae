"""The page's marking of words on a photo, its lexicon and its other readings, in a real headless Chromium."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, Route, expect

from service.engines.simulated import TEXT
from tests.service.test_demo_page import (
    PHONE,
    Open,
    answer_with,
    browser,
    bundle,
    card,
    cards,
    choose,
    copied,
    file,
    open_page,
    quick,
    word,
)
from tests.support.tiny_service import encoded

__all__ = ["browser", "bundle", "open_page", "quick"]
pytestmark = [pytest.mark.browser, pytest.mark.slow]

WIDTH, HEIGHT = 600, 450
PHOTO = encoded(np.full((HEIGHT, WIDTH, 3), 200, np.uint8))
FIRST, SECOND = (60, 60, 300, 120), (200, 300, 500, 360)
REGIONS = "**/v1/read/regions?*"


def photo(page: Page) -> Locator:
    return page.locator("#marking svg")


def marks(page: Page) -> Locator:
    return page.get_by_role("dialog").get_by_role("button", name=re.compile(r"^Word \d+$"))


def open_photo(page: Page) -> None:
    choose(page, file("street.png", PHOTO))
    card(page, "street.png").get_by_role("button", name="Mark words").click()
    expect(photo(page)).to_be_visible()


def drag(page: Page, *corners: tuple[float, float]) -> None:
    """With the mouse, from point to point of the photo's pixels."""
    box = photo(page).bounding_box()
    assert box
    across, down = box["width"] / WIDTH, box["height"] / HEIGHT
    places = [(box["x"] + x * across, box["y"] + y * down) for x, y in corners]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=3)
    page.mouse.up()


def mark(page: Page, *boxes: tuple[float, float, float, float]) -> None:
    for left, top, right, bottom in boxes:
        drag(page, (left, top), (right, bottom))


def read_outlines(page: Page) -> Any:
    """Reads what is marked; the outlines of the words that were read, in the order of their numbers."""
    page.get_by_role("button", name=re.compile(r"^Read \d words?$")).click()
    expect(cards(page, "waiting")).to_have_count(0)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download JSON").click()
    items = json.loads(download.value.path().read_text(encoding="utf-8"))
    words = [item for item in items if "region" in item]
    assert all(item["name"] == "street.png" and item["result"]["text"] == TEXT for item in words)
    return [item["points"] for item in sorted(words, key=lambda item: item["region"])]


def outline(left: float, top: float, right: float, bottom: float) -> list[list[float]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def near(points: Any, expected: list[list[float]]) -> bool:
    """Within a pixel of the screen or two."""
    return bool(np.abs(np.array(points) - np.array(expected)).max() <= 2)


def test_marked_words_become_cards_in_their_order_with_their_place_in_the_photo(open_page: Open) -> None:
    page = open_page()
    open_photo(page)
    mark(page, SECOND, FIRST)
    one, two = read_outlines(page)
    assert near(one, outline(*SECOND))
    assert near(two, outline(*FIRST))
    expect(cards(page, "read")).to_have_count(3)
    expect(page.get_by_role("article")).to_contain_text(["Word 1 of", "Word 2 of", "street.png"])
    expect(card(page, "Word 2 of street.png").locator(".final")).to_contain_text(TEXT)
    expect(card(page, "Word 2 of street.png").locator(".facts")).to_contain_text("240 \u00d7 60")
    page.get_by_role("button", name="Enlarge Word 1 of street.png").click()
    zoom = page.get_by_role("dialog")
    expect(zoom.locator(".outline")).to_have_count(1)
    points = zoom.locator(".outline").get_attribute("points")
    assert points
    assert near([list(map(float, point.split(","))) for point in points.split()], outline(*SECOND))


def test_a_dragged_corner_makes_a_quadrilateral(open_page: Open) -> None:
    page = open_page()
    open_photo(page)
    mark(page, FIRST)
    drag(page, (300, 60), (330, 30))
    assert near(read_outlines(page)[0], [[60, 60], [330, 30], [300, 120], [60, 120]])


def test_a_mark_is_moved_as_a_whole_and_never_out_of_the_photo(open_page: Open) -> None:
    page = open_page()
    open_photo(page)
    mark(page, FIRST)
    drag(page, (180, 90), (200, 110), (0, 100))
    assert near(read_outlines(page)[0], outline(0, 70, 240, 130))


def test_marks_are_made_moved_and_deleted_with_the_keyboard(open_page: Open) -> None:
    page = open_page()
    open_photo(page)
    page.get_by_role("button", name="Add a box").press("Enter")
    expect(marks(page)).to_be_focused()
    before = marks(page).get_attribute("points")
    page.keyboard.press("Shift+ArrowRight")
    assert marks(page).get_attribute("points") != before
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Its upper left corner")).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Delete")
    expect(marks(page)).to_have_count(0)
    expect(page.get_by_role("button", name="Read 0 words")).to_be_disabled()


def test_escape_undoes_a_drag_then_the_choice_and_then_closes_the_photo(open_page: Open) -> None:
    page = open_page()
    open_photo(page)
    mark(page, FIRST)
    box = photo(page).bounding_box()
    assert box
    page.mouse.move(box["x"] + 20, box["y"] + box["height"] - 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + box["height"] - 100)
    expect(marks(page)).to_have_count(2)
    page.keyboard.press("Escape")
    page.mouse.up()
    expect(marks(page)).to_have_count(1)
    marks(page).focus()
    expect(page.locator(".corner")).to_have_count(4)
    page.keyboard.press("Escape")
    expect(page.locator(".corner")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(photo(page)).to_be_hidden()


def test_marks_are_kept_and_read_words_replace_those_read_before(open_page: Open) -> None:
    page = open_page()
    open_photo(page)
    mark(page, FIRST)
    page.get_by_role("button", name="Read 1 word").click()
    expect(cards(page, "read")).to_have_count(2)
    page.get_by_role("button", name="Mark words").last.click()
    expect(marks(page)).to_have_count(1)
    mark(page, SECOND)
    page.get_by_role("button", name="Read 2 words").click()
    expect(cards(page, "read")).to_have_count(3)
    page.get_by_role("button", name="Remove Word 1 of street.png").click()
    page.get_by_role("button", name="Mark words").last.click()
    expect(marks(page)).to_have_count(1)


class Touch:
    """Fingers on the photo. They have a clock of their own: a slow machine does not slow them."""

    def __init__(self, page: Page) -> None:
        self._session = page.context.new_cdp_session(page)
        box = photo(page).bounding_box()
        assert box
        self._box = box
        self._time = time.time()

    def event(self, kind: str, *at: tuple[float, float], after: float = 0.016) -> None:
        """Places are shares of the photo's width and height, `after` seconds after the event before."""
        self._time += after
        box = self._box
        points = [
            {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"], "id": finger}
            for finger, (x, y) in enumerate(at)
        ]
        event = {"type": kind, "touchPoints": points, "timestamp": self._time}
        self._session.send("Input.dispatchTouchEvent", event)


def test_a_finger_marks_a_word(open_page: Open) -> None:
    page = open_page(viewport=PHONE, is_mobile=True, has_touch=True)
    open_photo(page)
    touch = Touch(page)
    touch.event("touchStart", (0.1, 0.1))
    touch.event("touchMove", (0.3, 0.2))
    touch.event("touchMove", (0.6, 0.3))
    touch.event("touchEnd", after=0.5)
    expect(marks(page)).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    heights = (
        page.get_by_role("dialog")
        .locator("button")
        .evaluate_all("(all) => all.map((one) => one.getBoundingClientRect().height)")
    )
    assert min(heights) >= 43.5
    page.get_by_role("button", name="Read 1 word").tap()
    expect(cards(page, "read")).to_have_count(2)


def test_the_first_tap_counts_after_a_finger_that_lifted_while_it_moved(open_page: Open) -> None:
    page = open_page(viewport=PHONE, is_mobile=True, has_touch=True)
    open_photo(page)
    touch = Touch(page)
    touch.event("touchStart", (0.1, 0.1))
    touch.event("touchMove", (0.3, 0.2), after=0.004)
    touch.event("touchMove", (0.6, 0.3), after=0.004)
    touch.event("touchEnd", after=0.004)
    page.get_by_role("button", name="Read 1 word").tap()
    expect(cards(page, "read")).to_have_count(2)


def test_two_fingers_enlarge_and_mark_nothing(open_page: Open) -> None:
    page = open_page(viewport=PHONE, is_mobile=True, has_touch=True)
    open_photo(page)
    touch = Touch(page)
    touch.event("touchStart", (0.4, 0.5))
    touch.event("touchMove", (0.42, 0.52))
    touch.event("touchStart", (0.42, 0.52), (0.6, 0.5))
    for step in range(1, 8):
        touch.event("touchMove", (0.42 - step * 0.04, 0.52), (0.6 + step * 0.04, 0.5))
    touch.event("touchEnd", after=0.5)
    page.wait_for_function("visualViewport.scale > 1.1")
    expect(marks(page)).to_have_count(0)


def test_words_are_read_in_a_browser_without_the_memory_to_show_them(open_page: Open) -> None:
    page = open_page()
    open_photo(page)
    page.evaluate("() => { window.createImageBitmap = () => Promise.reject(new Error('no memory')); }")
    mark(page, FIRST)
    page.get_by_role("button", name="Read 1 word").click()
    expect(cards(page, "read")).to_have_count(2)
    card(page, "street.png").last.get_by_role("button", name="Turn").click()
    expect(page.get_by_role("alert")).to_have_text("This browser has no room to turn street.png.")


def test_more_words_than_a_request_takes_are_read_all_the_same(open_page: Open) -> None:
    page = open_page()
    open_photo(page)
    mark(page, *[(20 + 90 * place, 60, 80 + 90 * place, 100) for place in range(6)])
    assert len(read_outlines(page)) == 6


def test_a_crossed_outline_fails_alone_and_says_why(open_page: Open) -> None:
    page = open_page()
    open_photo(page)
    mark(page, SECOND, FIRST)
    drag(page, (300, 60), (100, 200))
    page.get_by_role("button", name="Read 2 words").click()
    expect(card(page, "Word 2 of street.png")).to_contain_text("crosses itself")
    expect(card(page, "Word 1 of street.png").locator(".final")).to_contain_text(TEXT)


def test_a_photo_that_the_service_refuses_is_sent_once_for_all_its_words(open_page: Open) -> None:
    page = open_page()
    open_photo(page)
    mark(page, FIRST, SECOND)
    sent: list[str] = []

    def refuse(route: Route) -> None:
        sent.append(route.request.url)
        problem = {"type": "urn:abinet:problem:broken-image", "title": "Broken", "detail": "It is cut off."}
        route.fulfill(status=400, json=problem)

    page.route(REGIONS, refuse)
    page.get_by_role("button", name="Read 2 words").click()
    expect(cards(page, "failed")).to_have_count(2)
    assert len(sent) == 1


def test_a_crop_of_one_word_offers_no_marking(open_page: Open) -> None:
    page = open_page()
    choose(page, file("word.png"))
    expect(cards(page, "read")).to_have_count(1)
    expect(page.get_by_role("button", name="Mark words")).to_be_hidden()


def test_marked_words_are_downloaded_in_the_columns_of_the_command(open_page: Open) -> None:
    page = open_page()
    open_photo(page)
    mark(page, FIRST)
    page.get_by_role("button", name="Read 1 word").click()
    expect(cards(page, "read")).to_have_count(2)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text(encoding="utf-8"))))
    assert [(row["path"], row["text"], row["region"]) for row in rows] == [
        ("street.png", TEXT, "0"),
        ("street.png", TEXT, ""),
    ]
    assert near(json.loads(rows[0]["points"]), outline(*FIRST))


def test_the_copied_command_reads_a_marked_word_with_the_lexicon(open_page: Open, tmp_path: Path) -> None:
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    page.get_by_text("Lexicon").click()
    page.get_by_label("If the words are known").fill(f"harbour\n{TEXT}\nit's")
    name = 'a "b"; c.png'
    (tmp_path / name).write_bytes(PHOTO)
    choose(page, file(name, PHOTO))
    card(page, name).get_by_role("button", name="Mark words").click()
    expect(photo(page)).to_be_visible()
    mark(page, FIRST)
    page.get_by_role("button", name="Read 1 word").click()
    expect(cards(page, "read")).to_have_count(2)
    for title in (name, f"Word 1 of {name}"):
        command = copied(
            page.locator(".card", has=page.get_by_role("heading", name=title, exact=True)), "Copy curl"
        )
        done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True)
        answer = json.loads(done.stdout)
        result = answer["items"][0]["result"] if "items" in answer else answer
        assert result["lexicon"]["word"] == TEXT, done.stderr


def test_the_lexicons_word_is_on_the_card_with_the_probability_of_none(open_page: Open) -> None:
    page = open_page()
    page.get_by_text("Lexicon").click()
    page.get_by_label("If the words are known").fill(f"harbour\n\n  {TEXT} \nharbour\n" + "w" * 65)
    expect(page.locator("#lexicon-count")).to_have_text(
        "2 words; 1 left out: the service takes 10,000 of up to 64 characters"
    )
    choose(page, file("one.png"))
    expect(card(page, "one.png").locator(".lexicon")).to_have_text(
        re.compile(rf"Of the lexicon {TEXT} [\d.]+\s%, none of them .*\d\s%")
    )
    choose(page, file("two.png"), file("three.png"))
    expect(page.locator(".card .lexicon")).to_have_count(3)


def test_other_readings_are_folded_below_the_text(open_page: Open) -> None:
    page = open_page()
    answer_with(
        page,
        word("harbour"),
        alternatives=[{"text": "harbour", "probability": 0.91}, {"text": "", "probability": 0.034}],
    )
    choose(page, file("a.png"))
    fold = card(page, "a.png").locator(".likeliest")
    expect(fold.get_by_role("listitem").first).to_be_hidden()
    fold.get_by_text("Likeliest readings").click()
    expect(fold.get_by_role("listitem")).to_have_text(
        [re.compile(r"harbour 91.0\s%"), re.compile(r"no text 3.4\s%")]
    )
