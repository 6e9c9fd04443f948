"""Cache folders: whole or not there."""

import os
from multiprocessing import get_context

import pytest

from mambrane.core.errors import UserError
from mambrane.data.cache import hash_of, obtain_folder


def open_value(folder):
    path = folder / "value.txt"
    return path.read_text() if path.exists() and path.read_text().endswith("!") else None


def writer(value):
    return lambda folder: (folder / "value.txt").write_text(value) and None


def test_a_folder_is_built_once_and_then_opened(tmp_path):
    assert obtain_folder(tmp_path / "cache" / "key", open_value, writer("one!")) == "one!"
    assert obtain_folder(tmp_path / "cache" / "key", open_value, writer("two!")) == "one!"


def test_a_build_that_fails_leaves_nothing_behind(tmp_path):
    def failing(folder):
        (folder / "value.txt").write_text("half")
        raise UserError("bad text", wanted="good text", way_out="none")

    with pytest.raises(UserError, match="bad text"):
        obtain_folder(tmp_path / "key", open_value, failing)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_folder_is_replaced(tmp_path):
    (tmp_path / "key").mkdir()
    (tmp_path / "key" / "value.txt").write_text("torn")
    assert obtain_folder(tmp_path / "key", open_value, writer("whole!")) == "whole!"
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_the_second_of_two_builders_uses_the_folder_of_the_first(tmp_path):
    def slow(folder):
        obtain_folder(tmp_path / "key", open_value, writer("first!"))
        (folder / "value.txt").write_text("second!")

    assert obtain_folder(tmp_path / "key", open_value, slow) == "first!"
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def build_in_process(folder):
    return obtain_folder(folder, open_value, writer("same!"))


def test_four_processes_that_build_at_once_all_get_the_folder(tmp_path):
    with get_context("spawn").Pool(4) as pool:
        assert pool.map(build_in_process, [tmp_path / "key"] * 8) == ["same!"] * 8
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_what_a_killed_process_left_is_removed_after_a_day(tmp_path):
    for name, age_s in (("old", 2 * 24 * 3600), ("new", 0)):
        folder = tmp_path / f".unfinished-{name}"
        folder.mkdir()
        modified = folder.stat().st_mtime - age_s
        os.utime(folder, (modified, modified))
    obtain_folder(tmp_path / "key", open_value, writer("x!"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".unfinished-new", "key"]


def test_a_cache_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot be written(.|\n)*set MAMBRANE_CACHE to another folder"):
        obtain_folder(tmp_path / "file" / "key", open_value, writer("x!"))


def test_the_hash_does_not_depend_on_the_order_of_keys():
    assert hash_of({"a": 1, "b": [2, 3]}) == hash_of({"b": [2, 3], "a": 1})
    assert hash_of({"a": 1}) != hash_of({"a": 2})
