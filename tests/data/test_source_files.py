"""What a domain is made of before it is read."""

import os
import stat

import pytest

from mambrane.core.errors import UserError
from mambrane.data.documents import read_text
from mambrane.data.source_files import SourceFile, kind_of, status_of, unreadable


def test_a_file_is_its_own_family_unless_it_has_kin(tmp_path):
    assert SourceFile(tmp_path / "a.txt", "a.txt", read_text).family == "a.txt"
    assert SourceFile(tmp_path / "a.txt", "a.txt", read_text, kin="Helvetica").family == "Helvetica"


def test_size_and_times_are_those_of_the_file(tmp_path):
    (tmp_path / "a.txt").write_text("four")
    assert status_of(SourceFile(tmp_path / "a.txt", "a.txt", read_text)).st_size == 4


@pytest.mark.parametrize(("make", "named"), [(os.mkdir, "a folder"), (os.mkfifo, "a named pipe")])
def test_what_has_no_end_is_refused_by_what_it_is(tmp_path, make, named):
    make(tmp_path / "thing")
    with pytest.raises(UserError, match=f"thing: {named}"):
        status_of(SourceFile(tmp_path / "thing", "thing", read_text))


def test_a_file_that_has_gone_is_refused_with_the_reason(tmp_path):
    with pytest.raises(UserError, match=r"gone\.txt: cannot be read \(No such file"):
        status_of(SourceFile(tmp_path / "gone.txt", "gone.txt", read_text))


def test_kinds_of_paths_have_names():
    assert kind_of(stat.S_IFREG) == "an ordinary file"
    assert kind_of(stat.S_IFSOCK) == "a socket"
    assert kind_of(stat.S_IFLNK) == "not an ordinary file"


def test_an_error_without_a_reason_of_the_system_says_its_own():
    assert "a torn archive" in unreadable("x.gz", EOFError("a torn archive")).found
