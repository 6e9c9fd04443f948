"""Cache folders: as they were written, or made again."""

import json
import os
from functools import partial
from multiprocessing import get_context

import pytest

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.data import cache
from mambrane.data.cache import CacheDamaged, hash_of, opened_folder
from mambrane.storage.atomic_files import write_new_file
from mambrane.storage.manifest import seal
from tests.data.texts import kinds, recording_log


def open_value(folder):
    return json.loads((folder / "value.json").read_text())["value"]


def writer(value):
    return lambda folder: {"value.json": write_new_file(folder / "value.json", [json.dumps({"value": value}).encode()])}


def obtain_folder(folder, write, events=None):
    return cache.obtain_folder(folder, what="a value", open_whole=open_value, write=write, events=events or EventLog())


def test_a_folder_is_built_once_and_then_opened(tmp_path):
    log, events = recording_log()
    assert obtain_folder(tmp_path / "cache" / "key", writer("one"), log) == "one"
    assert obtain_folder(tmp_path / "cache" / "key", writer("two"), log) == "one"
    assert events == []


def test_a_build_that_fails_leaves_nothing_behind(tmp_path):
    def failing(folder):
        (folder / "value.json").write_text("half")
        raise UserError("bad text", wanted="good text", way_out="none")

    with pytest.raises(UserError, match="bad text"):
        obtain_folder(tmp_path / "key", failing)
    assert list(tmp_path.iterdir()) == []


def replace_by_link(path):
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


def replace_by_pipe(path):
    path.unlink()
    os.mkfifo(path)


def rewrite(path, content):
    path.write_bytes(content)


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "removed": lambda path: path.unlink(),
    "cut": lambda path: os.truncate(path, path.stat().st_size - 1),
    "longer": lambda path: rewrite(path, path.read_bytes() + b" "),
    "zeros of the same length": lambda path: rewrite(path, bytes(path.stat().st_size)),
    "one bit": flip_a_bit,
    "a link": replace_by_link,
    "a pipe": replace_by_pipe,
    "an empty list": partial(rewrite, content=b"[]"),
    "null": partial(rewrite, content=b"null"),
    "a number": partial(rewrite, content=b"7"),
    "no list of files": partial(rewrite, content=b"{}"),
    "deep JSON": partial(rewrite, content=b"[" * 100_000),
    "no text": partial(rewrite, content=b"\xff\xfe\x00"),
    "unknown types": partial(rewrite, content=seal({"files": {"value.json": 3}})),
    "negative numbers": partial(rewrite, content=seal({"files": {"value.json": {"num_bytes": -1, "sha256": "x"}}})),
    "words for numbers": partial(rewrite, content=seal({"files": {"value.json": {"num_bytes": "9", "sha256": 9}}})),
    "a name that no file can have": partial(rewrite, content=seal({"files": {"\0": {"num_bytes": 9, "sha256": "x"}}})),
    "keys missing": partial(rewrite, content=seal({"files": {"value.json": {"num_bytes": 9}}})),
}


@pytest.mark.parametrize("name", ["value.json", "files.json"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_made_again_and_said(tmp_path, name, damage):
    obtain_folder(tmp_path / "key", writer("whole"))
    path = tmp_path / "key" / name
    DAMAGES[damage](path)
    log, events = recording_log()
    assert obtain_folder(tmp_path / "key", writer("whole"), log) == "whole"
    (event,) = kinds(events, "cache_damaged")
    assert event["message"].startswith("the cache of a value is damaged and made again: ")
    assert str(path.parent) in event["message"]
    again, events = recording_log()
    assert obtain_folder(tmp_path / "key", writer("another"), again) == "whole"
    assert events == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("record", ["[]", "null", '{"value": ', "{}", '"text"', "[" * 100_000])
def test_a_record_that_makes_no_sense_is_made_again_even_if_its_hash_is_right(tmp_path, record):
    wrong = lambda folder: {"value.json": write_new_file(folder / "value.json", [record.encode()])}  # noqa: E731
    with pytest.raises(CacheDamaged):
        obtain_folder(tmp_path / "key", wrong)
    log, events = recording_log()
    assert obtain_folder(tmp_path / "key", writer("whole"), log) == "whole"
    assert len(kinds(events, "cache_damaged")) == 1


@pytest.mark.parametrize("place", ["file", "broken link", "link to itself"])
def test_what_stands_in_the_place_of_a_folder_is_replaced_and_said(tmp_path, place):
    if place == "file":
        (tmp_path / "key").write_text("in the way")
    else:
        (tmp_path / "key").symlink_to(tmp_path / ("key" if place == "link to itself" else "nowhere"))
    log, events = recording_log()
    assert obtain_folder(tmp_path / "key", writer("whole"), log) == "whole"
    assert len(kinds(events, "cache_damaged")) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_two_folders_that_are_exchanged_as_a_whole_are_made_again_and_said(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    obtain_folder(one, writer("one"))
    obtain_folder(two, writer("two"))
    one.rename(tmp_path / "aside")
    two.rename(one)
    (tmp_path / "aside").rename(two)
    log, events = recording_log()
    assert obtain_folder(one, writer("one"), log) == "one"
    assert obtain_folder(two, writer("two"), log) == "two"
    assert ["it was written as" in event["message"] for event in kinds(events, "cache_damaged")] == [True, True]


def test_the_second_of_two_builders_uses_the_folder_of_the_first(tmp_path):
    def slow(folder):
        obtain_folder(tmp_path / "key", writer("first"))
        return writer("second")(folder)

    assert obtain_folder(tmp_path / "key", slow) == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def build_in_process(folder):
    return obtain_folder(folder, writer("same"))


def test_four_processes_that_build_at_once_all_get_the_folder(tmp_path):
    with get_context("spawn").Pool(4) as pool:
        assert pool.map(build_in_process, [tmp_path / "key"] * 8) == ["same"] * 8
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_what_a_killed_process_left_is_removed_after_a_day(tmp_path):
    for name, age_s in (("old", 2 * 24 * 3600), ("new", 0)):
        folder = tmp_path / f".unfinished-{name}"
        folder.mkdir()
        modified = folder.stat().st_mtime - age_s
        os.utime(folder, (modified, modified))
    obtain_folder(tmp_path / "key", writer("x"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".unfinished-new", "key"]


def test_a_cache_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot be written(.|\n)*set MAMBRANE_CACHE to another folder"):
        obtain_folder(tmp_path / "file" / "key", writer("x"))


def test_nothing_is_built_where_a_folder_is_only_looked_for(tmp_path):
    assert opened_folder(tmp_path / "key", open_value) is None
    assert list(tmp_path.iterdir()) == []
    obtain_folder(tmp_path / "key", writer("x"))
    assert opened_folder(tmp_path / "key", open_value) == "x"


def test_the_hash_does_not_depend_on_the_order_of_keys():
    assert hash_of({"a": 1, "b": [2, 3]}) == hash_of({"b": [2, 3], "a": 1})
    assert hash_of({"a": 1}) != hash_of({"a": 2})
