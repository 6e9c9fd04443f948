"""The text of a domain in the cache."""

import gzip
import json
import os
from dataclasses import replace

import numpy as np
import pytest

from mambrane.core.errors import UserError
from mambrane.data.corpus import cached_corpus
from mambrane.data.documents import read_text
from tests.data.texts import config_for, kinds, lines, recording_log, reseal, source_at, write_files


def load(path, cache, **changes):
    log, events = recording_log()
    return cached_corpus(source_at(path), config_for(path, **changes), cache, log), events


@pytest.fixture
def folder(tmp_path):
    return write_files(tmp_path / "data", {f"d/{name}.txt": lines(name) for name in "abcdefghijklmnopqrst"}) / ""


def test_the_second_time_the_text_is_not_read(folder, tmp_path):
    first, events = load(folder, tmp_path / "cache")
    assert len(kinds(events, "text_read")) == 1
    second, events = load(folder, tmp_path / "cache")
    assert kinds(events, "text_read") == []
    assert second.record == first.record


def test_a_changed_file_is_read_again_even_at_the_same_size_and_time(folder, tmp_path):
    first, _ = load(folder, tmp_path / "cache")
    path = folder / "d" / "a.txt"
    before = path.stat()
    path.write_text(path.read_text().replace("a line", "A line"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    second, events = load(folder, tmp_path / "cache")
    assert len(kinds(events, "text_read")) == 1
    assert second.record["content_hash"] != first.record["content_hash"]


@pytest.mark.parametrize("changes", [{"max_domain_bytes": 3000}, {"max_heldout_bytes": 100}, {"heldout_fraction": 0.3}])
def test_another_limit_is_another_corpus(folder, tmp_path, changes):
    first, _ = load(folder, tmp_path / "cache")
    second, _ = load(folder, tmp_path / "cache", **changes)
    assert second.record["content_hash"] != first.record["content_hash"]


def test_a_touched_file_with_the_same_text_has_the_same_content_hash(folder, tmp_path):
    first, _ = load(folder, tmp_path / "cache")
    os.utime(folder / "d" / "a.txt", (1, 1))
    second, _ = load(folder, tmp_path / "cache")
    assert second.record == first.record


def test_the_record_says_which_file_went_where(folder, tmp_path):
    corpus, _ = load(folder, tmp_path / "cache")
    by_split = {split: [f for f in corpus.record["files"] if f["split"] == split] for split in ("train", "heldout")}
    assert len(by_split["train"]) + len(by_split["heldout"]) == 20
    for split, files in by_split.items():
        assert files
        assert sum(file["num_bytes"] for file in files) == corpus.record[split]["num_bytes"]
        expected = {(folder / "d" / file["path"]).read_bytes() for file in files}
        assert set(corpus.documents(split)) == expected


def test_a_copy_of_a_file_is_in_one_split_only(tmp_path):
    texts = {f"d/{name}.txt": lines(name) for name in "abcdefghij"}
    copies = {f"d/vendored/{name}.txt": lines(name) for name in "abcdefghij"}
    folder = write_files(tmp_path / "data", texts | copies)
    corpus, _ = load(folder, tmp_path / "cache", heldout_fraction=0.4)
    splits = [list(corpus.documents(split)) for split in ("train", "heldout")]
    assert len(splits[0]) + len(splits[1]) == 10
    assert not set(splits[0]) & set(splits[1])


@pytest.mark.parametrize("damage", ["text.bin", "train.npy", "heldout.npy", "record.json", "files.json"])
def test_a_damaged_cache_is_built_again(folder, tmp_path, damage):
    corpus, _ = load(folder, tmp_path / "cache")
    texts = list(corpus.documents("train"))
    path = corpus.folder / damage
    path.write_bytes(path.read_bytes()[:-7] + bytes(7))
    again, events = load(folder, tmp_path / "cache")
    assert len(kinds(events, "text_read")) == 1
    assert kinds(events, "cache_damaged")[0]["message"].startswith("the cache of the text of d is damaged")
    assert list(again.documents("train")) == texts


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "another"},
        {"name": 5},
        {"bytes_there": -5},
        {"bytes_there": "x"},
        {"bytes_read": None},
        {"bytes_read": 7},
        {"heldout_bytes_left_out": [1]},
        {"content_hash": "abc"},
        {"train": []},
        {"train": {"num_documents": 1}},
    ],
)
def test_a_record_that_does_not_fit_the_text_is_damage_even_if_its_hash_is_right(folder, tmp_path, changes):
    corpus, _ = load(folder, tmp_path / "cache")
    path = corpus.folder / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    reseal(corpus.folder)
    again, events = load(folder, tmp_path / "cache")
    assert again.record == corpus.record
    assert len(kinds(events, "cache_damaged")) == 1


@pytest.mark.parametrize("name", ["train", "heldout", "read", "lines", "passages"])
@pytest.mark.parametrize("content", [np.full((1, 2), 10**9), np.array(["a", "b"]), np.array([[-1, 1]])])
def test_places_outside_the_text_are_damage_even_if_their_hash_is_right(folder, tmp_path, name, content):
    corpus, _ = load(folder, tmp_path / "cache")
    texts = list(corpus.documents("train"))
    np.save(corpus.folder / f"{name}.npy", content)
    reseal(corpus.folder)
    again, events = load(folder, tmp_path / "cache")
    assert list(again.documents("train")) == texts
    assert len(kinds(events, "cache_damaged")) == 1


@pytest.mark.parametrize("content", ["", " \n\n"])
def test_an_empty_domain_is_a_clear_error(tmp_path, content):
    write_files(tmp_path, {"void.txt": content})
    with pytest.raises(UserError, match="domain void: no text in it"):
        load(tmp_path / "void.txt", tmp_path / "cache")


def test_a_cap_that_leaves_no_held_out_text_is_a_clear_error(tmp_path):
    folder = write_files(tmp_path / "data", {"d.txt": "\u20ac" * 1000})
    with pytest.raises(UserError, match=r"d: --max-heldout-bytes 2 leaves nothing of the 300 held-out bytes"):
        load(folder / "d.txt", tmp_path / "cache", max_heldout_bytes=2)
    assert load(folder / "d.txt", tmp_path / "cache", max_heldout_bytes=3)[0].record["heldout"]["num_bytes"] == 3


def test_a_file_that_cannot_be_read_is_a_clear_error(tmp_path):
    write_files(tmp_path, {"d/good.txt": "good"})
    (tmp_path / "d" / "gone.txt").symlink_to(tmp_path / "nowhere.txt")
    with pytest.raises(UserError, match=r"gone\.txt: cannot be read"):
        load(tmp_path, tmp_path / "cache")


@pytest.mark.parametrize("cut", [slice(0, -4), slice(0, 30)])
def test_a_torn_compressed_file_is_a_clear_error(tmp_path, cut):
    (tmp_path / "torn.txt.gz").write_bytes(gzip.compress(os.urandom(999).hex().encode())[cut])
    with pytest.raises(UserError, match=r"torn\.txt\.gz: cannot be read"):
        load(tmp_path / "torn.txt.gz", tmp_path / "cache")


def test_an_error_leaves_no_cache_behind(tmp_path):
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfeh\x00i\x00")
    with pytest.raises(UserError, match="byte 0 is 0xff"):
        load(tmp_path / "bad.txt", tmp_path / "cache")
    assert list((tmp_path / "cache" / "texts").iterdir()) == []


def test_a_file_that_changes_while_it_is_read_is_a_clear_error(tmp_path):
    (tmp_path / "a.txt").write_text(lines("a"))
    source = source_at(tmp_path / "a.txt")

    def read_and_change(path, limit):
        yield from read_text(path, limit)
        path.write_text("something else")

    source = replace(source, files=tuple(replace(file, read=read_and_change) for file in source.files))
    with pytest.raises(UserError, match="domain a: a file of it changed while it was read"):
        cached_corpus(source, config_for(tmp_path), tmp_path / "cache", recording_log()[0])
    assert list((tmp_path / "cache" / "texts").iterdir()) == []


@pytest.mark.parametrize("replacement", ["nothing", "a pipe", "a folder"])
def test_a_file_that_goes_between_listing_and_reading_is_a_clear_error(tmp_path, replacement):
    (tmp_path / "a.txt").write_text(lines("a"))
    source = source_at(tmp_path / "a.txt")
    (tmp_path / "a.txt").unlink()
    if replacement == "a pipe":
        os.mkfifo(tmp_path / "a.txt")
    elif replacement == "a folder":
        (tmp_path / "a.txt").mkdir()
    with pytest.raises(UserError, match=r"a\.txt: (cannot be read \(No such file|a named pipe|a folder)"):
        cached_corpus(source, config_for(tmp_path), tmp_path / "cache", recording_log()[0])


def test_a_file_that_is_passed_over_is_told_once_however_often_a_capped_domain_is_read(tmp_path):
    write_files(tmp_path, {f"d/{number}.txt": lines(f"file {number}", 2000) for number in range(3)})
    (tmp_path / "d" / "bad.txt").write_bytes(b"\xff")
    source = replace(source_at(tmp_path), skips_bad_files=True)
    log, events = recording_log()
    cached_corpus(source, config_for(tmp_path, max_domain_bytes=60_000), tmp_path / "cache", log)
    (event,) = kinds(events, "file_skipped")
    assert event["path"].endswith("bad.txt")


def test_a_cache_that_shrinks_while_it_is_read_is_an_error_with_words(folder, tmp_path):
    corpus, _ = load(folder, tmp_path / "cache")
    os.truncate(corpus.folder / "text.bin", 5)
    with pytest.raises(UserError, match=r"text\.bin became shorter while it was in use"):
        list(corpus.documents("train"))
