"""The word renderer, with fonts that the tests draw themselves: 62 patterns of squares."""

from __future__ import annotations

import argparse
import multiprocessing
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.charset import CHARSET_36, fold
from models.data import command
from models.data.framing import RENDERED, reframe
from models.data.rendering import renderer as synth
from models.data.rendering import texts, words
from models.data.rendering.font_classes import FontShelf, classify
from models.data.rendering.fonts import ALPHABET, FontsNotFoundError, family_of, find_fonts
from models.data.rendering.glyphs import LayoutStyle, Typeface
from models.data.rendering.looks import LOOKS, Look
from models.data.rendering.photographs import HEIGHT, find_photographs, load_photograph
from models.data.rendering.placing import place_in_street
from models.data.rendering.renderer import WordRenderer, write_folder
from models.data.rendering.texts import STREET
from models.data.rendering.words import WordListError, WordSampler
from models.data.sets.sheet import contact_sheet
from tests.support.drawn_fonts import TEST_FAMILY, TRAIN_FAMILY, made_up_words, make_font


@pytest.fixture
def vocabulary() -> list[tuple[str, float]]:
    return [(word, 1 / rank) for rank, word in enumerate(made_up_words(words.SHARED_WORDS + 2000), start=1)]


@pytest.fixture
def renderer(fonts: list[Path], vocabulary: list[tuple[str, float]]) -> WordRenderer:
    return WordRenderer(fonts, WordSampler(vocabulary), seed=7)


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_label_has_1_to_25_characters_of_the_charset(
    split: words.Split, vocabulary: list[tuple[str, float]]
) -> None:
    sampler, rng = WordSampler(vocabulary, split), np.random.default_rng(0)
    labels = [fold(sampler.sample(rng)) for _ in range(500)]
    assert all(1 <= len(label) <= 25 and set(label) <= set(CHARSET_36) for label in labels)


def test_train_and_test_split_share_no_text(vocabulary: list[tuple[str, float]]) -> None:
    train, test = (WordSampler(vocabulary, split) for split in ("train", "test"))
    rng = np.random.default_rng(0)
    seen = {fold(train.sample(rng)) for _ in range(5000)}
    assert not set(train.words) & set(test.words)
    assert not seen & {fold(test.sample(rng)) for _ in range(200)}


def test_frequent_words_are_drawn_more_often(vocabulary: list[tuple[str, float]]) -> None:
    sampler, rng = WordSampler(vocabulary), np.random.default_rng(0)
    labels = [fold(sampler.sample(rng)) for _ in range(3000)]
    assert labels.count(vocabulary[0][0]) > 3 * max(1, labels.count(vocabulary[1000][0]))


def test_a_word_list_may_come_from_a_file_without_frequencies(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("street\nparking\t0.5\n")
    assert WordSampler.from_file(path).words == ["street", "parking"]


def test_a_bad_frequency_is_named_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("street\toften\n")
    with pytest.raises(WordListError, match=r"words\.txt.*street"):
        WordSampler.from_file(path)


def test_a_missing_word_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(WordListError, match="nowhere"):
        WordSampler.from_file(tmp_path / "nowhere.txt")


def test_a_seventh_of_the_texts_is_long_although_such_words_are_rare() -> None:
    listed = [(word, 1.0) for word in made_up_words(words.SHARED_WORDS)]
    listed += [(2 * word + "ing", 0.001) for word, _ in listed[:500]]
    sampler, rng = WordSampler(listed), np.random.default_rng(0)
    long = [len(fold(sampler.sample(rng))) >= 12 for _ in range(2000)]
    assert 0.1 < np.mean(long) < 0.25


@pytest.mark.parametrize("look", [look for look, _ in LOOKS])
def test_the_shares_of_texts_and_fonts_add_up_to_one(look: Look) -> None:
    assert sum(look.texts.values()) == pytest.approx(1.0)
    assert sum(look.fonts.values()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("maker", "pattern"),
    [
        (texts.web, r"[\w.@#:/'-]+"),
        (texts.price, r".*\d[.,]?\d*.*"),
        (texts.date, r"[\w/.-]+"),
        (texts.clock, r"\d+(:\d+|.\d+|[ap]m-).*"),
        (texts.measure, r"[\d.]+\D+"),
        (texts.initials, r"([A-Z]\.)+"),
    ],
)
def test_made_up_texts_look_like_what_they_stand_for(
    maker: texts.Maker, pattern: str, vocabulary: list[tuple[str, float]]
) -> None:
    sampler, rng = WordSampler(vocabulary), np.random.default_rng(0)
    assert all(re.fullmatch(pattern, maker(sampler, rng)) for _ in range(300))


def test_a_third_of_the_texts_has_punctuation_that_the_label_drops(
    vocabulary: list[tuple[str, float]],
) -> None:
    sampler, rng = WordSampler(vocabulary), np.random.default_rng(0)
    drawn = [sampler.sample(rng) for _ in range(2000)]
    assert 0.25 < np.mean([len(fold(text)) < len(text) for text in drawn]) < 0.45


def test_fonts_that_lack_a_character_are_left_out(tmp_path: Path) -> None:
    make_font(tmp_path / "lacking.ttf", "Lacking", characters=ALPHABET.replace("q", ""))
    whole = make_font(tmp_path / "whole.ttf", "Whole", seed=1)
    assert find_fonts([tmp_path]) == [whole]


def test_fonts_that_draw_letters_alike_are_left_out(tmp_path: Path) -> None:
    make_font(tmp_path / "alike.ttf", "Alike", patterns=[0b101010101010] * len(ALPHABET))
    with pytest.raises(FontsNotFoundError):
        find_fonts([tmp_path])


def test_broken_font_files_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "broken.ttf").write_bytes(b"\x00\x01\x00\x00 not a font")
    whole = make_font(tmp_path / "whole.ttf", "Whole")
    assert find_fonts([tmp_path]) == [whole]


def test_one_drawing_under_two_family_names_counts_once(tmp_path: Path) -> None:
    first = make_font(tmp_path / "a.ttf", "One")
    make_font(tmp_path / "b.ttf", "Two")
    assert find_fonts([tmp_path]) == [first]


def test_a_family_gives_four_styles_and_those_that_differ_most(tmp_path: Path) -> None:
    paths = [
        make_font(tmp_path / f"{w}.ttf", "Wide", weight=w, seed=w) for w in (100, 390, 400, 410, 600, 900)
    ]
    chosen = find_fonts([tmp_path])
    assert len(chosen) == 4
    assert {paths[0], paths[2], paths[5]} <= set(chosen)


@pytest.mark.parametrize("names", [("Roman 10", "Roman 12"), ("drm10", "drmbx12")])
def test_optical_sizes_are_one_family(tmp_path: Path, names: tuple[str, str]) -> None:
    families = {family_of(make_font(tmp_path / f"{name}.ttf", name)) for name in names}
    assert len(families) == 1


def test_a_folder_without_fonts_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(FontsNotFoundError, match=str(tmp_path)):
        find_fonts([tmp_path])


def test_each_split_draws_with_its_own_font_families(
    fonts: list[Path], vocabulary: list[tuple[str, float]]
) -> None:
    used = {
        split: {
            family_of(path) for path in WordRenderer(fonts, WordSampler(vocabulary, split), 0, split).fonts
        }
        for split in ("train", "test")
    }
    assert used == {"train": {TRAIN_FAMILY}, "test": {TEST_FAMILY}}


def test_a_split_without_fonts_is_an_error(fonts: list[Path], vocabulary: list[tuple[str, float]]) -> None:
    only_train = [path for path in fonts if family_of(path) == TRAIN_FAMILY]
    with pytest.raises(FontsNotFoundError, match="test split"):
        WordRenderer(only_train, WordSampler(vocabulary), 0, "test")


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("Dancing Script", "hand"),
        ("Cabin Sketch", "display"),
    ],
)
def test_a_font_is_classed_by_the_name_of_its_family(tmp_path: Path, family: str, expected: str) -> None:
    assert classify(make_font(tmp_path / "font.ttf", family), family) == expected


def test_a_font_with_letters_of_one_width_is_monospaced_whatever_its_name(tmp_path: Path) -> None:
    sparse = [1 << i % 12 | 1 << i % 7 for i in range(len(ALPHABET))]
    path = make_font(tmp_path / "font.ttf", "Liberation Sans", patterns=sparse)
    assert classify(path, "Liberation Sans") == "mono"


def test_a_font_that_is_mostly_ink_is_heavy_whatever_its_name(tmp_path: Path) -> None:
    path = make_font(tmp_path / "font.ttf", "Liberation Sans", patterns=[2**12 - 1] * len(ALPHABET))
    assert classify(path, "Liberation Sans") == "heavy"


def test_one_family_of_a_class_is_drawn_as_often_as_many_of_another(tmp_path: Path) -> None:
    hand = make_font(tmp_path / "hand.ttf", "Some Hand", seed=1)
    mono = [make_font(tmp_path / f"{i}.ttf", f"Mono {chr(65 + i)}", seed=i + 2) for i in range(5)]
    shelf, rng = FontShelf([hand, *mono]), np.random.default_rng(0)
    drawn = [shelf.draw({"hand": 0.5, "mono": 0.5}, rng) for _ in range(400)]
    assert 0.4 < drawn.count(hand) / len(drawn) < 0.6


def test_a_class_without_fonts_gives_way_to_another(tmp_path: Path) -> None:
    hand = make_font(tmp_path / "hand.ttf", "Some Hand")
    assert FontShelf([hand]).draw({"mono": 1.0}, np.random.default_rng(0)) == hand


def test_a_stencil_cuts_bridges_and_keeps_stems(tmp_path: Path) -> None:
    ring, stem = 0b111101101111, 0b010010010010
    path = make_font(tmp_path / "font.ttf", "Rings", patterns=[ring, stem] * 31)
    typeface, rng = Typeface(path), np.random.default_rng(0)
    whole, cut = (typeface.lay_out("01", LayoutStyle(bridge=b), rng).astype(int).sum() for b in (0.0, 0.1))
    only_stem = [typeface.lay_out("1", LayoutStyle(bridge=b), rng) for b in (0.0, 0.1)]
    assert cut < whole
    assert np.array_equal(only_stem[0], only_stem[1])


def test_punctuation_that_a_font_lacks_leaves_no_ink(fonts: list[Path]) -> None:
    typeface = Typeface(fonts[0])
    assert typeface.glyph("&").mask.size == 0
    assert typeface.glyph("A").mask.any()


def test_a_wider_spacing_makes_a_wider_word(fonts: list[Path]) -> None:
    typeface, rng = Typeface(fonts[0]), np.random.default_rng(0)
    normal, wide = (typeface.lay_out("WORD", LayoutStyle(spacing=s), rng).shape[1] for s in (0.0, 0.2))
    assert wide > normal


def test_the_word_fills_about_half_of_its_crop_or_more(
    fonts: list[Path], vocabulary: list[tuple[str, float]]
) -> None:
    typeface, sampler = Typeface(fonts[0]), WordSampler(vocabulary)
    for seed in range(200):
        scene = place_in_street(typeface, "READ", sampler, STREET, np.random.default_rng(seed))
        assert scene is not None
        height, width = scene.word.shape
        _, _, ink_width, ink_height = cv2.boundingRect((scene.word > 96).view(np.uint8))
        assert ink_width > 0.5 * width
        assert ink_height > 0.4 * height


@pytest.mark.parametrize("look", [look for look, _ in LOOKS])
def test_every_look_leaves_some_contrast(
    look: Look, renderer: WordRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synth, "LOOKS", ((look, 1.0),))
    assert min(renderer.render(index).image.std() for index in range(200)) > 5


def test_a_frame_only_adds_to_a_crop_and_at_most_four_times_its_height() -> None:
    crop, rng = (
        np.random.default_rng(1).integers(1, 255, (20, 50, 3)).astype(np.uint8),
        np.random.default_rng(0),
    )
    framed = [
        image for image in (reframe(crop, rng, RENDERED) for _ in range(500)) if image.shape != crop.shape
    ]
    assert 0.05 < len(framed) / 500 < 0.25
    for image in framed:
        assert cv2.matchTemplate(image, crop, cv2.TM_SQDIFF).min() == pytest.approx(0, abs=100)
        assert image.shape[1] <= 2 * 80


def test_a_crop_is_a_natural_size_rgb_image(renderer: WordRenderer) -> None:
    for index in range(100):
        image, label = renderer.render(index)
        assert image.dtype == np.uint8
        assert image.ndim == 3
        assert image.shape[2] == 3
        assert 8 <= image.shape[0] <= 230
        assert 1 <= len(label) <= 25


def test_seed_and_index_make_the_crop(fonts: list[Path], vocabulary: list[tuple[str, float]]) -> None:
    labels = {
        seed: [WordRenderer(fonts, WordSampler(vocabulary), seed).render(index).label for index in range(8)]
        for seed in (1, 2)
    }
    assert labels[1] != labels[2]
    assert len(set(labels[1])) > 1


def test_the_order_of_rendering_does_not_matter(
    fonts: list[Path], vocabulary: list[tuple[str, float]], renderer: WordRenderer
) -> None:
    forward = [renderer.render(index).image for index in range(10)]
    other = WordRenderer(fonts, WordSampler(vocabulary), seed=7)
    backward = [other.render(index).image for index in reversed(range(10))][::-1]
    assert all(map(np.array_equal, forward, backward))


def test_another_process_renders_the_same_pixels(
    fonts: list[Path], vocabulary: list[tuple[str, float]], renderer: WordRenderer
) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.apply(_render, (fonts, vocabulary, [5, 6]))
    assert all(
        np.array_equal(image, renderer.render(index).image)
        for image, index in zip(there, [5, 6], strict=True)
    )


def _render(fonts: list[Path], vocabulary: list[tuple[str, float]], indices: list[int]) -> list[np.ndarray]:
    renderer = WordRenderer(fonts, WordSampler(vocabulary), seed=7)
    return [renderer.render(index).image for index in indices]


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A folder with one picture in two sizes and one more."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (700, 900, 3)).astype(np.uint8)
    for name in ("lake_900x700.png", "lake_1800x1400.png", "wood.jpg"):
        cv2.imwrite(str(folder / name), noise)
    return folder


def test_a_photograph_counts_once_whatever_its_sizes(photographs: Path) -> None:
    assert [path.name for path in find_photographs([photographs])] == ["lake_1800x1400.png", "wood.jpg"]


def test_photographs_are_shrunk_in_memory(photographs: Path) -> None:
    image = load_photograph(photographs / "wood.jpg")
    assert image.shape == (HEIGHT, round(900 * HEIGHT / 700), 3)


def test_a_folder_without_photographs_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=str(tmp_path)):
        find_photographs([tmp_path])


def test_a_photograph_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture" * 10_000)
    with pytest.raises(ValueError, match=r"broken\.jpg"):
        load_photograph(tmp_path / "broken.jpg")


def test_photographs_lie_behind_some_crops_and_the_same_ones_every_time(
    fonts: list[Path], vocabulary: list[tuple[str, float]], renderer: WordRenderer, photographs: Path
) -> None:
    found = find_photographs([photographs])
    twice = [WordRenderer(fonts, WordSampler(vocabulary), 7, photographs=found) for _ in range(2)]
    crops = [[one.render(index).image for index in range(40)] for one in twice]
    assert all(map(np.array_equal, *crops))
    plain = [renderer.render(index).image for index in range(40)]
    assert not all(map(np.array_equal, crops[0], plain))


def test_a_folder_of_crops_holds_the_pixels_and_their_labels(renderer: WordRenderer, tmp_path: Path) -> None:
    assert list(write_folder(renderer, 3, tmp_path)) == [1, 2, 3]
    lines = (tmp_path / "labels.tsv").read_text().splitlines()
    assert len(lines) == 3
    for index, line in enumerate(lines):
        name, label = line.split("\t")
        crop = renderer.render(index)
        assert label == crop.label
        stored = cv2.cvtColor(cv2.imread(str(tmp_path / name)), cv2.COLOR_BGR2RGB)
        assert np.array_equal(stored, crop.image)


def test_a_contact_sheet_shows_every_crop(renderer: WordRenderer, tmp_path: Path) -> None:
    contact_sheet([renderer.render(index) for index in range(10)], tmp_path / "sheet.png", columns=4)
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape == (3 * 64, 4 * 190, 3)


def test_the_command_renders_from_a_folder_of_fonts_and_a_word_list(
    fonts: list[Path],
    photographs: Path,
    tmp_path: Path,
    parse: Callable[[list[str]], argparse.Namespace],
) -> None:
    listed = tmp_path / "words.txt"
    listed.write_text("street\nparking\n")
    paths = ["--fonts", str(fonts[0].parent), "--words", str(listed), "--output", str(tmp_path / "out")]
    paths += ["--photographs", str(photographs)]
    assert command.run(parse(["render", "--count", "2", "--sheet", str(tmp_path / "sheet.png"), *paths])) == 0
    assert len(list((tmp_path / "out").glob("*.png"))) == 2
    assert (tmp_path / "sheet.png").is_file()


def test_the_command_refuses_to_render_less_than_one_crop(
    parse: Callable[[list[str]], argparse.Namespace], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(["render", "--count", "0", "--output", "out"])
    assert "--count" in capsys.readouterr().err


@pytest.fixture
def parse() -> Callable[[list[str]], argparse.Namespace]:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return parser.parse_args
