"""LMDB sets in the layout of the field: written, read, damaged, nested."""

from __future__ import annotations

import multiprocessing
import os
import resource
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import lmdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.data.sets import lmdb as lmdb_sets
from models.data.sets.folders import find_sets, open_set
from models.data.sets.lmdb import LmdbSet, LmdbWriter
from models.data.sets.samples import UnusableSample
from tests.support.tiny_service import crop, encoded

Sample = tuple[bytes, str]


def packed(folder: Path, samples: Iterable[Sample]) -> Path:
    with LmdbWriter(folder) as writer:
        for image, text in samples:
            writer.write(image, text)
    return folder


def stored(folder: Path, entries: dict[bytes, bytes]) -> Path:
    """An LMDB of any entries, as another program may have written it."""
    folder.mkdir(parents=True)
    with lmdb.open(str(folder)) as environment, environment.begin(write=True) as transaction:
        for key, value in entries.items():
            transaction.put(key, value)
    return folder


def contents(folder: Path) -> list[Sample]:
    samples = LmdbSet(folder)
    return [samples.read(index) for index in range(len(samples))]


# Reading.


def test_keys_are_those_of_the_field_and_count_from_1(tmp_path: Path) -> None:
    packed(tmp_path / "set", [(b"first", "One"), (b"second", "Zwei ü")])
    path = str(tmp_path / "set")
    with lmdb.open(path, readonly=True, lock=False) as environment, environment.begin() as transaction:
        entries = dict(transaction.cursor())
    assert entries == {
        b"num-samples": b"2",
        b"image-000000001": b"first",
        b"label-000000001": b"One",
        b"image-000000002": b"second",
        b"label-000000002": "Zwei ü".encode(),
    }


def test_a_set_of_another_program_is_read(tmp_path: Path) -> None:
    entries = {b"num-samples": b"1", b"image-000000001": encoded(crop()), b"label-000000001": b"It's"}
    image, label = open_set(stored(tmp_path / "set", entries)).crop(0)
    np.testing.assert_array_equal(image, crop()[..., ::-1])  # OpenCV stored it as BGR
    assert label == "its"


@pytest.mark.parametrize("index", [-1, 2])
def test_there_is_no_sample_beyond_the_last(tmp_path: Path, index: int) -> None:
    samples = LmdbSet(packed(tmp_path / "set", [(b"a", "a"), (b"b", "b")]))
    with pytest.raises(IndexError, match="there are 2"):
        samples.read(index)


def test_nested_sets_under_several_roots_are_found_once_each(tmp_path: Path) -> None:
    names = ["train/MJ/MJ_train", "train/ST", "evaluation/CUTE80"]
    sets = {name: packed(tmp_path / name, [(b"image", name)]) for name in names}
    packed(tmp_path / "train/.ST.partial-1", [(b"image", "half a set")])
    (tmp_path / "train/again").symlink_to(tmp_path / "train")
    roots = [tmp_path / "train", tmp_path / "evaluation", tmp_path / "train/ST"]
    assert find_sets(roots) == sorted(sets.values())
    assert {open_set(path).name for path in find_sets(roots)} == {"MJ_train", "ST", "CUTE80"}


@pytest.mark.parametrize(
    ("missing", "complaint"), [("nowhere", "no such folder"), ("empty", "no folder here holds")]
)
def test_a_root_without_a_set_is_named(tmp_path: Path, missing: str, complaint: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=f"{missing}: {complaint}"):
        find_sets([tmp_path / missing])


@pytest.mark.parametrize(
    ("image", "text", "reason"),
    [
        (None, b"word", "no image"),
        (b"", b"word", "no image"),
        (b"GIF89a", b"word", "broken image"),
        (encoded(crop())[:100], b"word", "broken image"),
        (encoded(crop()), None, "no label"),
        (encoded(crop()), b"", "empty label"),
        (encoded(crop()), b"?!", "empty label"),
        (encoded(crop()), b"\xff\xfe", "empty label"),
        (encoded(crop()), b"a" * 26, "too long label"),
    ],
)
def test_an_unusable_sample_says_why(
    tmp_path: Path, image: bytes | None, text: bytes | None, reason: str
) -> None:
    entries = {b"num-samples": b"1", b"image-000000001": image, b"label-000000001": text}
    path = stored(tmp_path / "set", {key: value for key, value in entries.items() if value is not None})
    with pytest.raises(UnusableSample) as unusable:
        open_set(path).crop(0)
    assert unusable.value.reason == reason


def stored_in_a_file(path: Path, entries: dict[bytes, bytes]) -> Path:
    with lmdb.open(str(path), subdir=False) as environment, environment.begin(write=True) as transaction:
        for key, value in entries.items():
            transaction.put(key, value)
    return path


ONE = {b"num-samples": b"1", b"image-000000001": b"image", b"label-000000001": b"word"}


@pytest.mark.parametrize("name", ["CUTE80.lmdb", "CUTE80"])
def test_a_single_file_is_a_set_as_well(tmp_path: Path, name: str) -> None:
    labelled = open_set(stored_in_a_file(tmp_path / name, ONE))
    assert (labelled.name, labelled.read(0)) == ("CUTE80", (b"image", "word"))


def test_single_files_are_found_below_a_root(tmp_path: Path) -> None:
    (tmp_path / "sets").mkdir()
    path = stored_in_a_file(tmp_path / "sets/CUTE80.lmdb", ONE)
    assert find_sets([tmp_path]) == find_sets([path]) == [path]


def test_the_count_may_end_with_a_line_break(tmp_path: Path) -> None:
    assert len(open_set(stored(tmp_path / "set", {**ONE, b"num-samples": b"1\n"}))) == 1


def test_two_readers_of_one_set_share_its_file(tmp_path: Path) -> None:
    path = packed(tmp_path / "set", [(b"image", "word")])
    first, second = LmdbSet(path), LmdbSet(path)
    assert first.read(0) == second.read(0) == (b"image", "word")


def test_a_set_that_is_sent_to_another_process_reads_the_same_there(tmp_path: Path) -> None:
    labelled = open_set(packed(tmp_path / "set", [(b"a", "one"), (b"b", "two")]))
    here = labelled.read(1)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(labelled.read, (1,)) == here


# Writing.


@settings(max_examples=10, deadline=None)
@given(
    st.lists(
        st.tuples(st.binary(max_size=6000), st.text(st.characters(codec="utf-8"), max_size=40)), max_size=5
    )
)
def test_what_is_written_is_read_again(samples: list[Sample]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        assert contents(packed(Path(scratch) / "set", samples)) == samples


def test_a_set_outgrows_its_first_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmdb_sets, "FIRST_MAP_BYTES", 1 << 16)
    monkeypatch.setattr(lmdb_sets, "COMMIT_BYTES", 1 << 14)
    samples = [(os.urandom(5000), str(index)) for index in range(100)] + [(os.urandom(1 << 20), "large")]
    assert contents(packed(tmp_path / "set", samples)) == samples


def test_a_set_has_no_name_before_it_is_complete(tmp_path: Path) -> None:
    with LmdbWriter(tmp_path / "set") as writer:
        writer.write(b"image", "word")
        assert not (tmp_path / "set").exists()
    assert os.listdir(tmp_path) == ["set"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_exception_nothing_is_left(tmp_path: Path, error: type[BaseException]) -> None:
    def samples() -> Iterator[Sample]:
        yield b"image", "word"
        raise error

    with pytest.raises(error):
        packed(tmp_path / "set", samples())
    assert os.listdir(tmp_path) == []


def test_what_exists_is_not_written_over(tmp_path: Path) -> None:
    path = packed(tmp_path / "set", [(b"image", "word")])
    with pytest.raises(ValueError, match="exists already"):
        packed(path, [(b"other", "other")])
    assert contents(path) == [(b"image", "word")]
    assert os.listdir(tmp_path) == ["set"]


def test_a_full_disk_is_an_error_of_the_file_system(tmp_path: Path) -> None:
    # The kernel refuses to let a file of this process grow, as it does if a disk is full.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match="set: cannot be written"):
            packed(tmp_path / "set", [(bytes(5000), "word")] * 50)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == []


# Damage.


def refusal(content: bytes) -> str:
    """What is said of a data.mdb of this content, after the folder's name."""
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "data.mdb").write_bytes(content)
        with pytest.raises(ValueError, match="not an LMDB set") as refused:
            len(LmdbSet(Path(scratch)))
        message = str(refused.value)
        assert message.count(scratch) == 1
        assert "\n" not in message
        return message.removeprefix(f"{scratch}: ")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The data.mdb of 20 samples."""
    folder = packed(tmp_path_factory.mktemp("whole") / "set", [(bytes(3000), "word")] * 20)
    return (folder / "data.mdb").read_bytes()


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=20_000))
def test_any_other_file_is_no_lmdb(content: bytes) -> None:
    assert refusal(content).startswith("not an LMDB set")


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_set_that_is_cut_off_is_refused(whole: bytes, data: st.DataObject) -> None:
    length = data.draw(st.integers(0, len(whole) - 1))
    assert refusal(whole[:length]).startswith("not an LMDB set")


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ({b"image-000000001": b"image"}, "no num-samples"),
        ({b"num-samples": b"many"}, "num-samples is b'many'"),
        ({b"num-samples": b"-1"}, "num-samples is b'-1'"),
        ({b"num-samples": b"9999999999"}, "with 1 entries"),
    ],
)
def test_a_count_that_cannot_be_is_refused(
    tmp_path: Path, entries: dict[bytes, bytes], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        open_set(stored(tmp_path / "set", entries))
