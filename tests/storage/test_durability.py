"""A save may end at any call, by a kill, an error or a power cut: a valid checkpoint is there afterwards.

fault_injection.py makes calls fail or be the last one; power_cut.py knows what a disk may forget.
"""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mambrane.core.events import EventLog
from mambrane.storage.atomic_files import StorageError, atomic_write_text
from mambrane.storage.checkpoint import Checkpoints
from tests.storage import fault_injection as faults
from tests.storage import power_cut

FINISHED_NAME = re.compile(r"step-\d{8}")


@pytest.fixture(scope="module")
def victim(tmp_path_factory):
    """A process that runs scenarios and dies in forks of itself; it imports torch once."""
    program = Path(faults.__file__)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(program.parents[2])}
    process = subprocess.Popen(
        [sys.executable, str(program), str(tmp_path_factory.mktemp("kills"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        env=environment,
    )

    def ask(scenario):
        process.stdin.write(json.dumps(scenario) + "\n")
        return json.loads(process.stdout.readline())

    with process:
        yield ask
        process.stdin.close()


@pytest.mark.parametrize("scenario", faults.KILLED_SCENARIOS)
def test_a_kill_after_any_call_leaves_the_old_or_the_new_checkpoint(victim, scenario):
    found = victim(scenario)
    allowed = {found["before"], found["version"]}
    valid_before, damaged_before = found["before_valid_and_damaged"]
    assert len(found["points"]) > 20
    for point in found["points"]:
        assert point["after_kill"] in allowed
        assert point.get("after_second_kill", point["after_kill"]) in allowed
        valid, damaged = point["valid_and_damaged"]
        assert valid >= min(valid_before, 2)
        assert set(damaged) <= set(damaged_before)
        assert point["after_save"] == found["version"]
        assert all(FINISHED_NAME.fullmatch(name) for name in point["names"])
    assert {point["after_kill"] for point in found["points"]} == allowed
    assert {point["call"] for point in found["points"]} >= {"open", "write", "close", "mkdir", "rename", None}


@pytest.mark.parametrize("scenario", [name for name in faults.SCENARIOS if "background" not in name])
def test_a_power_cut_after_any_call_leaves_the_old_or_the_new_checkpoint(tmp_path, scenario, monkeypatch):
    prepare, interrupted = faults.SCENARIOS[scenario]
    folder = tmp_path / "checkpoints"
    prepare(folder)
    old, new = faults.newest_version(folder), interrupted.get("version", interrupted["step"])
    valid_before, damaged_before = faults.valid_and_damaged(folder)
    with power_cut.Recorder(tmp_path) as recorder:
        faults.save(folder, **interrupted)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    disks = [survives(moment) for moment in recorder.moments for survives in power_cut.LOSSES.values()]
    found = set()
    for disk in power_cut.different(disks):
        power_cut.write_disk(disk, tmp_path / "left")
        left = tmp_path / "left" / "checkpoints"
        found.add(faults.newest_version(left))
        assert found <= {old, new}, disk
        valid, damaged = faults.valid_and_damaged(left)
        assert valid >= min(valid_before, 2), disk
        assert set(damaged) <= set(damaged_before), disk
        faults.save(left, **interrupted)
        assert faults.newest_version(left) == new, disk
        assert all(FINISHED_NAME.fullmatch(name) for name in os.listdir(left)), disk
        shutil.rmtree(tmp_path / "left")
    assert found == {old, new}
    for survives in power_cut.LOSSES.values():
        power_cut.write_disk(survives(recorder.moments[-1]), tmp_path / "end")
        assert faults.newest_version(tmp_path / "end" / "checkpoints") == new
        shutil.rmtree(tmp_path / "end")


def test_a_power_cut_after_any_call_leaves_the_old_or_the_new_file(tmp_path):
    (tmp_path / "config.json").write_text("old")
    with power_cut.Recorder(tmp_path) as recorder:
        atomic_write_text(tmp_path / "config.json", "new")
    for survives in power_cut.LOSSES.values():
        assert {survives(moment)["config.json"] for moment in recorder.moments} <= {b"old", b"new"}
        assert survives(recorder.moments[-1])["config.json"] == b"new"


def test_a_kill_after_any_call_leaves_the_old_or_the_new_file(victim):
    contents = victim("atomic write")
    assert set(contents) == {"old", "the new content"}
    assert contents == sorted(contents)


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("scenario", ["the second save", "a save that prunes", "the same step again"])
def test_an_error_of_any_call_is_told_and_harms_no_checkpoint(tmp_path, scenario, lasting):
    prepare, interrupted = faults.SCENARIOS[scenario]
    template = tmp_path / "template"
    prepare(template)
    old, new = faults.newest_version(template), interrupted.get("version", interrupted["step"])
    num_valid, num_calls = faults.num_valid(template), count_calls(template, tmp_path / "counted", interrupted)
    num_failed = 0
    for index in range(num_calls):
        folder = Path(shutil.copytree(template, tmp_path / str(index)))
        number = faults.ERRORS[index % len(faults.ERRORS)]
        calls = faults.DiskCalls(faults.fail_call(index, number, lasting=lasting), before=True)
        failure = save_or_error(folder, calls, interrupted)
        if failure is not None:
            num_failed += 1
            assert os.strerror(number) in failure.found
            assert lasting or not list(folder.glob("*.tmp-*"))
        assert faults.newest_version(folder) in ({new} if failure is None else {old, new})
        assert faults.num_valid(folder) >= num_valid
        faults.save(folder, **interrupted)
        assert faults.newest_version(folder) == new
        assert all(FINISHED_NAME.fullmatch(name) for name in os.listdir(folder))
    assert num_calls >= num_failed > 15


@pytest.mark.parametrize("scenario", ["a save that prunes", "the same step again"])
def test_an_interrupt_at_any_call_leaves_the_old_or_the_new_checkpoint_and_nothing_half_done(tmp_path, scenario):
    prepare, interrupted = faults.SCENARIOS[scenario]
    template = tmp_path / "template"
    prepare(template)
    old, new = faults.newest_version(template), interrupted.get("version", interrupted["step"])
    for index in range(count_calls(template, tmp_path / "counted", interrupted)):
        folder = Path(shutil.copytree(template, tmp_path / str(index)))
        with pytest.raises(KeyboardInterrupt), faults.DiskCalls(faults.interrupt_call(index)):
            faults.save(folder, **interrupted)
        assert faults.newest_version(folder) in {old, new}
        assert not list(folder.glob("*.tmp-*"))
        assert faults.valid_and_damaged(folder)[1] == []


def save_or_error(folder, calls, interrupted):
    with calls:
        try:
            faults.save(folder, **interrupted)
        except StorageError as failure:
            return failure
    return None


def count_calls(template, folder, interrupted):
    shutil.copytree(template, folder)
    with faults.DiskCalls(lambda index, name: None) as calls:
        faults.save(folder, **interrupted)
    return calls.count


def test_a_failed_save_leaves_no_file_descriptor_open(tmp_path):
    faults.two(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    for index in range(40):
        calls = faults.DiskCalls(faults.fail_call(index, errno.EIO, lasting=False), before=True)
        with calls:
            try:
                faults.save(tmp_path, 3)
            except StorageError:
                continue
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_disk_that_takes_less_than_it_is_given_gets_the_rest(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, block: write(descriptor, block[:7]))
    faults.save(tmp_path, 1)
    monkeypatch.undo()
    assert faults.newest_version(tmp_path) == 1


def test_a_save_too_large_for_the_disk_is_refused_before_it_begins(tmp_path, monkeypatch):
    faults.two(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 10, 10))
    with pytest.raises(StorageError, match="10 bytes free") as refusal:
        faults.save(tmp_path, 3)
    assert "free some space" in refusal.value.way_out
    assert sorted(os.listdir(tmp_path)) == ["step-00000001", "step-00000002"]


def test_what_cannot_be_removed_is_reported_and_the_save_still_counts(tmp_path):
    faults.two(tmp_path)
    events = []
    log = EventLog()
    log.listeners.append(events.append)

    def refuse(index, name):
        if name in ("unlink", "rmdir"):
            raise PermissionError(1, "Operation not permitted")

    with faults.DiskCalls(refuse, before=True):
        checkpoints = Checkpoints(tmp_path, keep=2, events=log)
        for step in (3, 4):
            checkpoints.save(step, {"trainer": faults.state_of(step)}, weights=faults.weights_of(step))
    kinds = [event["event"] for event in events]
    assert kinds.count("checkpoint_saved") == 2
    assert "checkpoints_not_pruned" in kinds
    assert "leftover_not_removed" in kinds
    assert faults.newest_version(tmp_path) == 4
