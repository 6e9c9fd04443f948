"""Where the domains lie."""

import errno
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
