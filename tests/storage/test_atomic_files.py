"""Durable writes of single files: replaced whole, and an error says what to do."""

import errno
import hashlib
import os

import pytest

from mambrane.storage.atomic_files import (
    BLOCK_BYTES,
    StorageError,
    atomic_write_bytes,
    atomic_write_text,
    make_folder,
    remove_folder,
    require_space,
    write_new_file,
)
from tests.storage import fault_injection as faults


def test_an_atomic_write_replaces_the_whole_file_and_leaves_nothing_beside_it(tmp_path):
    file = tmp_path / "matrix.json"
    atomic_write_text(file, "a long first version")
    atomic_write_bytes(file, b"second")
    (tmp_path / f"{file.name}.tmp-1").write_bytes(b"of another process")
    atomic_write_text(file, "drei ä")
    assert file.read_text(encoding="utf-8") == "drei ä"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["matrix.json", "matrix.json.tmp-1"]


@pytest.mark.parametrize(
    ("number", "way_out"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EROFS, "correct the permissions"),
        (errno.EACCES, "correct the permissions"),
        (errno.EIO, "look at the system log"),
    ],
    ids=errno.errorcode.get,
)
def test_a_failed_replacement_leaves_the_old_file_alone_and_says_what_to_do(tmp_path, number, way_out):
    file = tmp_path / "config.json"
    for index in range(5):
        file.write_text("old")
        with (
            faults.DiskCalls(faults.fail_call(index, number, lasting=False), before=True) as calls,
            pytest.raises(StorageError, match=r"config\.json") as refusal,
        ):
            atomic_write_text(file, "new")
        assert way_out in refusal.value.way_out
        assert calls.count > index
        assert file.read_text() == "old"
        assert os.listdir(tmp_path) == ["config.json"]


def test_a_file_of_many_chunks_is_what_they_are_and_its_record_fits_it(tmp_path):
    chunks = [b"a", b"", b"b" * (BLOCK_BYTES - 1), b"c" * (2 * BLOCK_BYTES + 5), memoryview(b"d" * 7)]
    record = write_new_file(tmp_path / "file", chunks)
    content = b"".join(bytes(chunk) for chunk in chunks)
    assert (tmp_path / "file").read_bytes() == content
    assert record == (len(content), hashlib.sha256(content).hexdigest())


def test_a_new_file_does_not_replace_one_that_is_there(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        write_new_file(tmp_path / "file", [b"new"])
    assert (tmp_path / "file").read_bytes() == b"old"


def test_removing_a_folder_removes_links_and_not_what_they_lead_to(tmp_path):
    make_folder(tmp_path / "folder" / "inside")
    make_folder(tmp_path / "folder" / "inside")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("kept")
    (tmp_path / "folder" / "link").symlink_to(tmp_path / "kept")
    remove_folder(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
    assert (tmp_path / "kept" / "file").read_text() == "kept"


def test_more_than_the_disk_holds_is_refused_with_both_sizes(tmp_path):
    with pytest.raises(StorageError, match=r"1,125,899,906,842,624 bytes to write, [0-9,]+ bytes free") as refusal:
        require_space(tmp_path, 1 << 50)
    assert "free some space" in refusal.value.way_out
