"""Faults for the durability tests: every call that changes the disk can be the last one, can fail, or is recorded.

Run as a program it is the process that dies: it reads a scenario from each line of its input, and for each call that
the scenario makes it forks, lets the fork die right after that call, and prints what the others then find.
"""

import errno
import gc
import json
import os
import shutil
import sys
from pathlib import Path
from tempfile import mkdtemp

import torch

from mambrane.core.events import EventLog
from mambrane.storage.atomic_files import atomic_write_text
from mambrane.storage.checkpoint import Checkpoints
from mambrane.storage.manifest import CheckpointDamaged
from mambrane.storage.saver import BackgroundSaver

CHANGING_CALLS = ("open", "write", "fsync", "close", "mkdir", "rename", "replace", "unlink", "rmdir")
STATUS = 100
"""A fork that dies at CHANGING_CALLS[i] ends with status STATUS + i."""
KEEP = 2


class DiskCalls:
    """Replaces the changing calls of `os` for the length of a block and calls `on_call(index, name)` around each.

    on_call runs before the call when `before` is set, else after it. Reads (os.open for reading) are not counted.
    """

    def __init__(self, on_call, *, before=False):
        self.on_call, self.before = on_call, before
        self.count = 0
        self.originals = {name: getattr(os, name) for name in CHANGING_CALLS}

    def __enter__(self):
        for name, original in self.originals.items():
            setattr(os, name, self.wrap(name, original))
        return self

    def __exit__(self, *_):
        for name, original in self.originals.items():
            setattr(os, name, original)

    def wrap(self, name, original):
        def call(*arguments, **options):
            if name == "open" and not arguments[1] & os.O_CREAT:
                return original(*arguments, **options)
            index, self.count = self.count, self.count + 1
            # A file descriptor whose close fails is closed all the same.
            if self.before and name != "close":
                self.on_call(index, name)
            try:
                return original(*arguments, **options)
            finally:
                if not self.before or name == "close":
                    self.on_call(index, name)

        return call


def state_of(version):
    return {"version": version, "moments": [torch.full((9,), float(version)), torch.ones(2, dtype=torch.uint8)]}


def weights_of(version):
    return {"model": {"weight": torch.full((5, 3), float(version))}, "ema": {"weight": torch.zeros(2)}}


def open_checkpoints(folder):
    return Checkpoints(folder, keep=KEEP, events=EventLog())


def save(folder, step, version=None, *, background=False):
    """Save a step; `version` is the number in its contents, the step itself unless told."""
    contents = (step, {"trainer": state_of(version or step)})
    weights = weights_of(version or step)
    if background:
        with BackgroundSaver(open_checkpoints(folder)) as saver:
            saver.save_async(*contents, weights=weights)
    else:
        open_checkpoints(folder).save(*contents, weights=weights)


def newest_version(folder):
    """The number in the contents of what a restarted run would load; 0 where it would start anew."""
    checkpoint = open_checkpoints(folder).load_newest()
    if checkpoint is None:
        return 0
    version = checkpoint.parts["trainer"]["version"]
    assert torch.equal(checkpoint.parts["trainer"]["moments"][0], state_of(version)["moments"][0])
    assert torch.equal(checkpoint.weights["model"]["weight"], weights_of(version)["model"]["weight"])
    return version


def valid_and_damaged(folder):
    """The number of valid checkpoints, and the proper names under which something else lies."""
    checkpoints = open_checkpoints(folder)
    num_valid, damaged = 0, []
    for path in sorted(folder.glob("step-*")):
        if ".tmp-" in path.name or ".removed-" in path.name:
            continue
        try:
            checkpoints.load(path)
            num_valid += 1
        except CheckpointDamaged:
            damaged += [path.name] if "." not in path.name else []
    return num_valid, damaged


def num_valid(folder):
    return valid_and_damaged(folder)[0]


def damage(folder, step):
    file = folder / f"step-{step:08d}" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def copy_aside(folder, step, ending):
    """Leave behind what a killed process would have left."""
    shutil.copytree(folder / f"step-{step:08d}", folder / f"step-{step:08d}.{ending}")


def two(folder):
    save(folder, 1)
    save(folder, 2)


def newest_damaged(folder):
    two(folder)
    damage(folder, 2)


def leftovers(folder):
    two(folder)
    copy_aside(folder, 1, "tmp-99")
    copy_aside(folder, 1, "removed-98")
    copy_aside(folder, 2, "replaced-97")


def killed_between_the_two_renames(folder):
    two(folder)
    os.rename(folder / "step-00000002", folder / "step-00000002.replaced-97")


def killed_after_the_two_renames_then_damaged(folder):
    two(folder)
    copy_aside(folder, 2, f"replaced-{os.getpid()}")
    damage(folder, 2)


def both_saves_of_a_step_damaged(folder):
    two(folder)
    damage(folder, 2)
    copy_aside(folder, 2, f"replaced-{os.getpid()}")


SCENARIOS = {
    "the first save": (lambda folder: None, {"step": 1}),
    "the second save": (lambda folder: save(folder, 1), {"step": 2}),
    "a save that prunes": (two, {"step": 3}),
    "a background save that prunes": (two, {"step": 3, "background": True}),
    "the same step again": (two, {"step": 2, "version": 20}),
    "the only step again": (lambda folder: save(folder, 2), {"step": 2, "version": 20}),
    "a damaged step again": (newest_damaged, {"step": 2, "version": 20}),
    "a save that finds leftovers": (leftovers, {"step": 3}),
    "a save after a kill between the two renames": (killed_between_the_two_renames, {"step": 3}),
    "that step again after a kill between the two renames": (
        killed_between_the_two_renames,
        {"step": 2, "version": 20},
    ),
    "a step again of which only the older save is whole": (
        killed_after_the_two_renames_then_damaged,
        {"step": 2, "version": 20},
    ),
    "a step again of which no save is whole": (both_saves_of_a_step_damaged, {"step": 2, "version": 20}),
}
"""Name -> (what is on the disk before, the save that is interrupted)."""

KILLED_SCENARIOS = ["the second save", "a save that prunes", "a background save that prunes", "the same step again"]
"""Those in which a process really dies at each call; the others go through the model of power_cut.py alone."""


def fork_and_kill(action, index, *, torn=False):
    """Run the action in a fork that dies after its call `index`; return the call's name, or None if it ended before.

    With `torn`, a write of that number puts down only half of its bytes.
    """
    pid = os.fork()
    if pid == 0:
        write = os.write
        if torn:
            os.write = lambda fd, block: write(fd, block if calls.count <= index else block[: len(block) // 2])
        calls = DiskCalls(
            lambda number, name: os._exit(STATUS + CHANGING_CALLS.index(name)) if number == index else None
        )
        try:
            with calls:
                action()
            os._exit(0)
        except BaseException as error:
            write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 0 or status >= STATUS, status
    return CHANGING_CALLS[status - STATUS] if status else None


def kill_at_every_call(name, root):
    """Return one line for each point of death: what is found after it, and after the next, whole save."""
    prepare, interrupted = SCENARIOS[name]
    template = root / "template"
    prepare(template)
    version = interrupted.get("version", interrupted["step"])
    found = {
        "before": newest_version(template),
        "before_valid_and_damaged": valid_and_damaged(template),
        "version": version,
        "points": [],
    }
    index, torn = 0, False
    while True:
        folder = Path(mkdtemp(dir=root))
        if template.exists():
            shutil.copytree(template, folder, dirs_exist_ok=True)
        died = fork_and_kill(lambda folder=folder: save(folder, **interrupted), index, torn=torn)
        point = {"call": died, "after_kill": newest_version(folder), "valid_and_damaged": valid_and_damaged(folder)}
        if index % 2:
            # A second process is killed too, at some other point; the third one gets through.
            fork_and_kill(lambda folder=folder: save(folder, **interrupted), (index * 17 + 5) % 61)
            point["after_second_kill"] = newest_version(folder)
        save(folder, **interrupted)
        point["after_save"] = newest_version(folder)
        point["names"] = sorted(os.listdir(folder))
        found["points"].append(point)
        shutil.rmtree(folder)
        if died is None:
            return found
        torn = died == "write" and not torn
        index += not torn


def kill_during_atomic_write(root):
    """Return what a reader finds in a file after each point of death of its replacement."""
    file, contents = root / "file", []
    for index in range(100):
        file.write_text("old")
        died = fork_and_kill(lambda: atomic_write_text(file, "the new content"), index)
        contents.append(file.read_text())
        if died is None:
            return contents
    raise AssertionError("the write never ended")


def interrupt_call(index):
    """Return an on_call that raises what a third Ctrl-C raises, at the call `index`."""

    def on_call(count, name):
        if count == index:
            raise KeyboardInterrupt

    return on_call


def fail_call(index, number, *, lasting):
    """Return an on_call that makes the call `index`, and with `lasting` every later one, fail with an errno."""

    def on_call(count, name):
        if count == index or (lasting and count > index):
            raise OSError(number, os.strerror(number))

    return on_call


ERRORS = [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES]

if __name__ == "__main__":
    torch.set_num_threads(1)
    # Forks copy only what changes: without the collector's marks that is little.
    gc.freeze()
    gc.disable()
    # The page cache outlives a killed process, so syncing would only cost time here.
    os.fsync = lambda descriptor: None
    for line in sys.stdin:
        name = json.loads(line)
        root = Path(mkdtemp(dir=sys.argv[1]))
        answer = kill_during_atomic_write(root) if name == "atomic write" else kill_at_every_call(name, root)
        print(json.dumps(answer), flush=True)  # noqa: T201 -- the answer of this program
