"""One training process in a folder, and one configuration; the difference is shown."""

import errno
import json
import math
import os
import subprocess
import sys

import pytest

from mambrane.core.errors import UserError
from mambrane.storage import run_folder
from mambrane.storage.atomic_files import StorageError
from mambrane.storage.run_folder import RunFolder

HOLDER = """
import pathlib, sys
from mambrane.storage.run_folder import RunFolder
with RunFolder(pathlib.Path(sys.argv[1])).lock():
    print("locked", flush=True)
    sys.stdin.readline()
"""

CONFIG = {
    "seed": 1,
    "engine": {"save_every": 200, "learning_rate": 1e-3, "betas": (0.9, 0.99)},
    "data": {"sources": ["builtin"], "limit": None, "cap": math.inf},
}


def changed(**engine):
    return {**CONFIG, "engine": {**CONFIG["engine"], **engine}}


def start_holder(folder):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "locked\n"
    return holder


def test_a_second_process_is_kept_out_and_told_who_is_inside(tmp_path):
    run = RunFolder(tmp_path / "new" / "run")
    with start_holder(run.path) as holder:
        with pytest.raises(UserError, match=f"in use by process {holder.pid} on "), run.lock():
            pass
        holder.communicate("\n", timeout=20)
    with run.lock():
        pass


def test_the_lock_of_a_killed_process_is_no_obstacle(tmp_path):
    with start_holder(tmp_path) as holder:
        holder.kill()
    assert json.loads((tmp_path / "run.lock").read_text())["pid"] == holder.pid
    with RunFolder(tmp_path).lock(), pytest.raises(UserError, match="in use"), RunFolder(tmp_path).lock():
        pass


def test_a_lock_file_of_garbage_is_no_obstacle(tmp_path):
    (tmp_path / "run.lock").write_bytes(b"\xff" * 10_000)
    with (
        RunFolder(tmp_path).lock(),
        pytest.raises(UserError, match=f"in use by process {os.getpid()} on "),
        RunFolder(tmp_path).lock(),
    ):
        pass


WRONG_KINDS = {
    "a folder": (lambda path: path.mkdir(), "is a folder"),
    "a pipe": (os.mkfifo, "is a pipe"),
    "a link to nothing": (lambda path: path.symlink_to("nowhere/at/all"), "is a link that leads nowhere"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "is a device"),
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in its folders")
@pytest.mark.parametrize(("make", "words"), WRONG_KINDS.values(), ids=WRONG_KINDS)
def test_something_else_in_the_place_of_any_file_of_a_run_is_refused_before_training(tmp_path, make, words):
    names = ["run.lock", "config.json", "domains.json", "events.jsonl", "matrix.json", "tasks.json", "report.html"]
    for name in [*names, "tokenizer.json", "environment.json"]:
        make(tmp_path / name)
        with pytest.raises(UserError, match=f"{name} {words}"), RunFolder(tmp_path).lock():
            pass
        (tmp_path / name).rmdir() if words == "is a folder" else (tmp_path / name).unlink()
    with RunFolder(tmp_path).lock():
        pass


@pytest.mark.parametrize("name", ["checkpoints", "heldout", "tensorboard"])
def test_a_file_in_the_place_of_a_folder_is_refused_and_a_link_to_a_folder_is_not(tmp_path, name):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_text("")
    with pytest.raises(UserError, match=f"{name} is a file"), RunFolder(tmp_path / "run").lock():
        pass
    (tmp_path / "run" / name).unlink()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run" / name).symlink_to(tmp_path / "elsewhere")
    with RunFolder(tmp_path / "run").lock():
        pass


def test_an_error_inside_gives_the_lock_back(tmp_path):
    with pytest.raises(RuntimeError, match="inside"), RunFolder(tmp_path).lock():
        raise RuntimeError("inside")
    with RunFolder(tmp_path).lock():
        pass


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"), RunFolder(tmp_path / "file" / "run").lock():
        pass


def test_the_same_configuration_resumes(tmp_path):
    run = RunFolder(tmp_path)
    assert run.match_or_create(CONFIG) is False
    assert run.match_or_create(json.loads(json.dumps(CONFIG | {"data": {**CONFIG["data"], "cap": math.inf}}))) is True
    assert run.read_config()["engine"] == {"save_every": 200, "learning_rate": 1e-3, "betas": [0.9, 0.99]}
    assert run.read_config()["data"]["cap"] == math.inf


def test_a_changed_configuration_is_refused_with_each_difference(tmp_path):
    run = RunFolder(tmp_path)
    run.match_or_create(CONFIG)
    before = run.config_file.read_bytes()
    other = changed(learning_rate=2e-3, betas=(0.9, 0.95)) | {"new": {"field": "x"}}
    del other["seed"]
    with pytest.raises(UserError) as refusal:
        run.match_or_create(other)
    assert refusal.value.found.splitlines()[1:] == [
        "  engine.betas: [0.9, 0.99] -> [0.9, 0.95]",
        "  engine.learning_rate: 0.001 -> 0.002",
        '  new.field: absent -> "x"',
        "  seed: 1 -> absent",
    ]
    assert "--output-dir" in refusal.value.way_out
    assert run.config_file.read_bytes() == before


LATER = {
    **CONFIG,
    "engine": {**CONFIG["engine"], "clip": {"norm": 1.0, "kind": "global"}},
    "room": {"setting": [1, 2]},
}
"""CONFIG as a later version knows it: a new setting, one of them a room within a room, and a new room."""


def test_settings_that_a_run_was_saved_without_stand_at_their_default(tmp_path):
    run = RunFolder(tmp_path)
    assert run.settings_saved_without(LATER) == {}
    run.match_or_create(CONFIG)
    assert run.settings_saved_without(LATER) == {
        "engine.clip.norm": 1.0,
        "engine.clip.kind": "global",
        "room.setting": [1, 2],
    }
    assert run.match_or_create(LATER, defaults=LATER) is True
    assert run.settings_saved_without(LATER) == {}
    assert run.read_config()["room"] == {"setting": [1, 2]}


def test_one_missing_setting_of_a_room_within_a_room_is_filled_in(tmp_path):
    run = RunFolder(tmp_path)
    run.match_or_create({**LATER, "engine": {**LATER["engine"], "clip": {"norm": 2.0}}})
    assert run.settings_saved_without(LATER) == {"engine.clip.kind": "global"}
    asked = {**LATER, "engine": {**LATER["engine"], "clip": {"norm": 2.0, "kind": "global"}}}
    assert run.match_or_create(asked, defaults=LATER) is True


def test_a_setting_saved_without_is_refused_where_something_else_than_its_default_is_asked_for(tmp_path):
    run = RunFolder(tmp_path)
    run.match_or_create(CONFIG)
    before = run.config_file.read_bytes()
    asked = {**LATER, "engine": {**LATER["engine"], "clip": {"norm": 9.0, "kind": "global"}}}
    with pytest.raises(UserError) as refusal:
        run.match_or_create(asked, defaults=LATER)
    assert refusal.value.found.splitlines()[1:] == ["  engine.clip.norm: 1.0 -> 9.0"]
    assert run.config_file.read_bytes() == before


def test_a_saved_setting_that_this_version_does_not_know_is_refused_by_name(tmp_path):
    run = RunFolder(tmp_path)
    run.match_or_create(LATER)
    with pytest.raises(UserError, match="settings that this version does not know") as refusal:
        run.match_or_create(CONFIG, defaults=CONFIG, operational=["engine"])
    assert refusal.value.found.splitlines()[1:] == [
        '  engine.clip.kind: "global"',
        "  engine.clip.norm: 1.0",
        "  room.setting: [1, 2]",
    ]
    assert "version of mambrane that saved it" in refusal.value.way_out


def test_operational_fields_may_change_and_the_folder_keeps_the_last_values(tmp_path):
    run = RunFolder(tmp_path)
    run.match_or_create(CONFIG, operational=["engine.save_every"])
    assert run.match_or_create(changed(save_every=7), operational=["engine.save_every"]) is True
    assert run.read_config()["engine"]["save_every"] == 7
    assert run.match_or_create(changed(save_every=9, learning_rate=1.0), operational=["engine"]) is True
    with pytest.raises(UserError, match="save_every: 9 -> 10"):
        run.match_or_create(changed(save_every=10, learning_rate=1.0), operational=["engine.save"])


def test_checkpoints_without_their_configuration_are_not_taken_over(tmp_path):
    run = RunFolder(tmp_path)
    (run.checkpoints_folder / "step-00000001").mkdir(parents=True)
    with pytest.raises(UserError, match=r"no config\.json"):
        run.match_or_create(CONFIG)


@pytest.mark.parametrize("content", [b"", b"{", b"\x80\x04N.", b"\xff"])
def test_a_damaged_configuration_is_a_clear_error(tmp_path, content):
    run = RunFolder(tmp_path)
    run.config_file.write_bytes(content)
    with pytest.raises(UserError, match=r"config\.json"):
        run.match_or_create(CONFIG)


def test_the_lock_clears_what_killed_replacements_left_and_nothing_of_the_living(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = ["config.json", f"config.json.tmp-{dead.pid}", f"report.html.tmp-{os.getpid()}", "notes.tmp-x"]
    for name in names:
        (tmp_path / name).write_text("")
    with RunFolder(tmp_path).lock():
        assert {path.name for path in tmp_path.iterdir()} == {*names, "run.lock"} - {names[1]}


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_a_clear_error_and_nothing_is_left_open(tmp_path, monkeypatch, number):
    locked = []

    def refuse(descriptor, *, blocking):
        locked.append(descriptor)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(run_folder, "lock_descriptor", refuse)
    with pytest.raises(UserError, match="cannot lock") as refusal, RunFolder(tmp_path).lock():
        pass
    assert os.strerror(number) in refusal.value.found
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(locked[0])


def test_the_first_byte_of_the_lock_file_says_nothing_because_windows_lets_nobody_read_it(tmp_path):
    with RunFolder(tmp_path).lock():
        content = (tmp_path / "run.lock").read_bytes()
    assert content[:1] == b" "
    assert json.loads(content[1:])["pid"] == os.getpid()


def test_on_windows_nothing_is_sent_to_the_process_that_a_leftover_names(tmp_path, monkeypatch):
    sent = []
    monkeypatch.setattr(os, "kill", lambda *arguments: sent.append(arguments))
    monkeypatch.setattr(sys, "platform", "win32")
    (tmp_path / "config.json.tmp-1").write_text("")
    with RunFolder(tmp_path).lock():
        assert (tmp_path / "config.json.tmp-1").exists()
    assert sent == []


def test_a_leftover_with_a_number_that_no_process_has_is_cleared(tmp_path):
    (tmp_path / f"config.json.tmp-{10**30}").write_text("")
    with RunFolder(tmp_path).lock():
        assert [path.name for path in tmp_path.iterdir()] == ["run.lock"]
