"""Where the domains lie."""

import errno
import os
import socket
import subprocess
from pathlib import Path

import pytest

from mambrane.core.errors import UserError
from mambrane.data.sources import find_sources
from tests.data.texts import kinds, recording_log, write_files


def find(*locations):
    log, events = recording_log()
    return find_sources(tuple(map(str, locations)), log), events


def test_sub_folders_and_files_of_a_folder_are_the_domains(tmp_path):
    write_files(tmp_path, {"b.txt": "b", "a/one.md": "1", "a/deep/two.py": "2", "c.jsonl.gz": "", ".hidden/x.txt": "h"})
    sources, events = find(tmp_path)
    assert [source.name for source in sources] == ["a", "b", "c"]
    assert [file.relative for file in sources[0].files] == ["deep/two.py", "one.md"]
    assert events == []


def test_several_paths_keep_their_order(tmp_path):
    write_files(tmp_path, {"z.txt": "z", "a.txt": "a", "more/m.txt": "m"})
    sources, _ = find(tmp_path / "z.txt", tmp_path / "a.txt", tmp_path / "more")
    assert [source.name for source in sources] == ["z", "a", "m"]


def test_domains_of_one_name_are_numbered(tmp_path):
    write_files(tmp_path, {"x/poems.txt": "1", "y/poems.md": "2", "y/poems.txt": "3"})
    sources, _ = find(tmp_path / "x", tmp_path / "y")
    assert [source.name for source in sources] == ["poems", "poems-2", "poems-3"]


def test_files_of_unknown_kind_are_skipped_with_an_event_for_each_kind(tmp_path):
    write_files(tmp_path, {"a/t.txt": "t", "a/p.png": "", "a/q.png": "", "b.dat": "", "c.md": "c"})
    sources, events = find(tmp_path)
    assert [source.name for source in sources] == ["a", "c"]
    skipped = {event["path"].rsplit("/", 1)[1]: event["count"] for event in kinds(events, "file_skipped")}
    assert skipped == {"p.png": 2, "b.dat": 1}
    assert "unknown suffix" in events[0]["reason"]


def test_a_missing_path_is_a_clear_error(tmp_path):
    with pytest.raises(UserError, match=r"nowhere: does not exist(.|\n)*hf:NAME"):
        find(tmp_path / "nowhere")


def test_a_file_of_unknown_kind_given_by_name_is_a_clear_error(tmp_path):
    write_files(tmp_path, {"a.bin": "x"})
    with pytest.raises(UserError, match=r"a\.bin: unknown kind of file(.|\n)*\.txt"):
        find(tmp_path / "a.bin")


@pytest.mark.parametrize("names", [[], ["a.bin", "b.png"]])
def test_a_folder_without_readable_files_is_a_clear_error(tmp_path, names):
    write_files(tmp_path, dict.fromkeys(names, "x"))
    with pytest.raises(UserError, match=f"no readable file in it \\({len(names)} of unknown kind"):
        find(tmp_path)


def test_a_sub_folder_without_readable_files_is_a_clear_error(tmp_path):
    write_files(tmp_path, {"a.txt": "a", "pictures/p.png": ""})
    with pytest.raises(UserError, match=r"domain pictures(.|\n)*each sub-folder is a domain"):
        find(tmp_path)


def test_a_loop_of_links_ends(tmp_path):
    write_files(tmp_path, {"a/t.txt": "t"})
    (tmp_path / "a" / "loop").symlink_to(tmp_path / "a")
    (source,), _ = find(tmp_path)
    assert len(source.files) == 1


def test_all_kinds_of_places_can_be_joined(tmp_path):
    write_files(tmp_path, {"mine.txt": "x"})
    sources, _ = find("builtin", tmp_path, "hf:owner/stories:small@v2")
    assert [source.name for source in sources[5:]] == ["mine", "stories-small"]


def test_a_path_that_the_system_refuses_is_named():
    with pytest.raises(UserError, match=r"xxx: cannot be read \(File name too long\)"):
        find("x" * 300)


def test_an_entry_of_a_folder_that_may_not_be_looked_at_is_named(tmp_path, monkeypatch):
    write_files(tmp_path, {"a.txt": "a"})
    look = Path.is_dir

    def refused(path):
        if path.name == "a.txt":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return look(path)

    monkeypatch.setattr(Path, "is_dir", refused)
    with pytest.raises(UserError, match=r"a\.txt: cannot be read \(Permission denied\)"):
        find(tmp_path)


def make_socket(path):
    # The path of a socket may have a hundred bytes, and tests live deeper than that.
    here = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{here}/{path.name}")
    os.close(here)


SPECIAL = {"a named pipe": os.mkfifo, "a socket": make_socket, "a device": lambda path: path.symlink_to("/dev/zero")}


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("folder", ["", "a"])
def test_what_is_no_ordinary_file_is_passed_over_and_said(tmp_path, kind, folder):
    write_files(tmp_path, {"a/t.txt": "t"})
    SPECIAL[kind](tmp_path / folder / "special.txt")
    sources, events = find(tmp_path)
    assert [(source.name, len(source.files)) for source in sources] == [("a", 1)]
    (event,) = kinds(events, "file_skipped")
    assert event["path"].endswith("special.txt")
    assert event["reason"].startswith(kind)


@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_no_ordinary_file_is_refused_by_name(tmp_path, kind):
    SPECIAL[kind](tmp_path / "special.txt")
    with pytest.raises(UserError, match=rf"special\.txt: {kind}, which has no end(.|\n)*an ordinary file"):
        find(tmp_path / "special.txt")


def test_an_endless_device_is_refused():
    with pytest.raises(UserError, match=r"/dev/zero: unknown kind of file \(a device\)"):
        find("/dev/zero")


def test_a_tree_of_two_thousand_folders_is_read(tmp_path):
    deep = tmp_path / "data" / "d"
    deep.mkdir(parents=True)
    here = os.open(deep, os.O_RDONLY)
    descriptors = [here]
    for _ in range(1900):
        os.mkdir("x", dir_fd=descriptors[-1])
        descriptors.append(os.open("x", os.O_RDONLY, dir_fd=descriptors[-1]))
        os.close(descriptors.pop(-2))
    os.close(os.open("t.txt", os.O_CREAT | os.O_WRONLY, dir_fd=descriptors[-1]))
    os.close(descriptors.pop())
    try:
        (source,), _ = find(tmp_path / "data")
        assert source.files[0].relative == "x/" * 1900 + "t.txt"
    finally:
        # What cleans up after a test goes down by recursion.
        subprocess.run(["rm", "-rf", deep], check=True)


def test_a_tree_deeper_than_paths_may_be_long_is_a_clear_error(tmp_path):
    deep = tmp_path / "data" / "d"
    deep.mkdir(parents=True)
    descriptor = os.open(deep, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("x" * 200, dir_fd=descriptor)
        inner = os.open("x" * 200, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)
    with pytest.raises(UserError, match=r"cannot be read \(File name too long\)"):
        find(tmp_path / "data")
    subprocess.run(["rm", "-rf", deep], check=True)


def test_names_that_are_not_utf8_are_written_out(tmp_path):
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    for name in (b"na\xefve.txt", b"line\nend.txt", b"\x1b[31mred.txt", b"p\xff.png"):
        with open(folder + b"/" + name, "w") as file:
            file.write("text")
    (source,), events = find(tmp_path)
    assert source.name == "caf\\xe9"
    assert sorted(file.relative for file in source.files) == ["\\x1b[31mred.txt", "line\\nend.txt", "na\\xefve.txt"]
    assert all(file.path.read_text() == "text" for file in source.files)
    assert kinds(events, "file_skipped")[0]["path"].endswith("caf\\xe9/p\\xff.png")


def test_a_name_that_is_not_utf8_can_stand_in_a_message(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\x1b.bin")
    Path(path).touch()
    with pytest.raises(UserError, match=r"/\\xff\\x1b\.bin: unknown kind of file") as error:
        find(path)
    str(error.value).encode()


def test_a_link_to_a_folder_is_said_and_its_target_is_read_once(tmp_path):
    write_files(tmp_path, {"a/t.txt": "t", "b/u.txt": "u"})
    (tmp_path / "a" / "again").symlink_to(tmp_path / "b")
    (tmp_path / "all").symlink_to(tmp_path)
    sources, events = find(tmp_path)
    assert [(source.name, len(source.files)) for source in sources] == [("a", 1), ("b", 1)]
    reasons = {event["path"].rsplit("/", 1)[1]: event["reason"] for event in kinds(events, "file_skipped")}
    assert reasons["again"].startswith("a link to a folder")
    assert reasons["all"] == "a link to a folder that it lies in"


def test_a_link_that_leads_nowhere_or_in_a_circle_is_said(tmp_path):
    write_files(tmp_path, {"a/t.txt": "t"})
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    _, events = find(tmp_path)
    assert [(event["count"], event["reason"]) for event in kinds(events, "file_skipped")] == [
        (2, "a link that leads nowhere")
    ]


def test_links_in_a_circle_are_a_clear_error(tmp_path):
    (tmp_path / "a.txt").symlink_to(tmp_path / "b.txt")
    (tmp_path / "b.txt").symlink_to(tmp_path / "a.txt")
    with pytest.raises(UserError, match=r"a\.txt: does not exist"):
        find(tmp_path / "a.txt")


@pytest.mark.parametrize("location", ["", " ", "a\0b", "~nobody-of-that-name/x"])
def test_a_location_that_is_no_path_is_a_clear_error(location):
    with pytest.raises(UserError, match=r"does not exist|cannot be read"):
        find(location)
