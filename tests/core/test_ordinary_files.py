"""Files that are read to their end."""

import os

import pytest

from mambrane.core.ordinary_files import read_ordinary


def test_an_ordinary_file_is_read_through_a_link_too(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_ordinary(tmp_path / "link") == b"content"


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["a pipe", "a device"])
def test_what_has_no_end_is_not_read(tmp_path, make):
    make(tmp_path / "endless")
    with pytest.raises(OSError, match="not an ordinary file"):
        read_ordinary(tmp_path / "endless")
