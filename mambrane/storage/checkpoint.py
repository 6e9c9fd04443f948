"""Checkpoints that survive anything: written aside, synced, renamed, verified when loaded, pruned only afterwards.

    checkpoints/step-00000040/
        model.safetensors  ema.safetensors        weights: plain tensors by parameter name
        trainer.json  trainer.safetensors ...     each part of the state (state_files.py)
        manifest.json                             sizes and SHA-256 of all of them (manifest.py), written last

Order of a save; a kill or a power cut between any two of these leaves a valid checkpoint, the new or the old one:

    settle leftovers -> write and sync each file in step-N.tmp-PID -> manifest -> sync the folder
    -> rename to step-N -> sync checkpoints/ -> prune

Saving a step that exists moves the old one to step-N.replaced-PID first; while step-N is missing, that one is loaded.
"""

import os
import re
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.storage.atomic_files import (
    make_folder,
    remove_folder,
    require_kind,
    require_space,
    storage_errors,
    sync_folder,
)
from mambrane.storage.checkpoint_files import (
    Checkpoint,
    PreparedSave,
    prepare,
    read_folder,
    read_verified_part,
    write_folder,
)
from mambrane.storage.manifest import CheckpointDamaged, CheckpointVersionError, check_folder, read_manifest
from mambrane.storage.state_files import StateTree

CHECKPOINT_NAME = re.compile(r"step-(\d{8,})(?:\.replaced-\d+)?")
LEFTOVER_NAME = re.compile(r"step-\d{8,}\.(?:tmp|removed)-\d+")

MANIFEST_ROOM_BYTES = 1 << 20
"""Asked of the disk beyond the files themselves, for the manifest and the folders."""


class NoValidCheckpoint(UserError):
    """There are checkpoints, and not one of them is whole."""


class Checkpoints:
    """The checkpoints of one run. One process at a time may save (RunFolder.lock sees to it); any may load."""

    def __init__(self, folder: Path, *, keep: int = 2, events: EventLog | None = None) -> None:
        if keep < 2:
            raise UserError(f"{keep} checkpoints to keep", wanted="at least 2", way_out="--keep-checkpoints 2")
        self.folder = folder
        self.keep = keep
        self.events = events or EventLog()
        self.pinned_step: int | None = None
        """A step whose checkpoint is not pruned: what a task that may be taken back began with."""
        self._verified: set[str] = set()
        self._publishing = threading.Lock()

    def save(
        self,
        step: int,
        parts: Mapping[str, StateTree],
        *,
        weights: Mapping[str, Mapping[str, Tensor]],
    ) -> Path:
        """Write the checkpoint of a step and return its folder; see saver.py for saving in the background.

        Args:
            step: applied steps of the run.
            parts: the state of each part, by a name that becomes its file's.
            weights: tensors by parameter name, for each file: {"model": ..., "ema": ...}.

        Raises:
            StorageError: the disk refused; older checkpoints are untouched.
            TypeError: a part holds something that is no state.
        """
        return self.publish(prepare(step, parts, weights=weights), self.events)

    def publish(self, prepared: PreparedSave, events: EventLog) -> Path:
        """Write a prepared save, make it the newest checkpoint, prune; raises StorageError."""
        target = self.folder / f"step-{prepared.step:08d}"
        with self._publishing, storage_errors("saving", target):
            make_folder(self.folder)
            self._recover(events)
            require_space(self.folder, prepared.num_bytes + MANIFEST_ROOM_BYTES)
            self._put_in_place(prepared, target)
            self._verified.add(target.name)
            events.emit("checkpoint_saved", step=prepared.step, path=str(target), num_bytes=prepared.num_bytes)
            self._recover(events)
            self._prune(events)
        return target

    def load_newest(self) -> Checkpoint | None:
        """Return the newest valid checkpoint, or None when nothing was ever saved.

        Raises:
            NoValidCheckpoint: some exist, and every one is damaged.
            CheckpointVersionError: the newest one was written by another version of the format.
        """
        damages = []
        for folder in self._newest_first():
            try:
                checkpoint = self.load(folder)
            except CheckpointDamaged as damage:
                damages.append(damage)
                self.events.emit(
                    "checkpoint_damaged",
                    path=str(folder),
                    file=damage.file.name,
                    expected=damage.expected,
                    found=damage.reason,
                )
                continue
            self.events.emit("checkpoint_loaded", step=checkpoint.step, path=str(folder))
            return checkpoint
        if damages:
            raise NoValidCheckpoint(
                "\n  ".join([f"{self.folder}: no valid checkpoint", *(damage.found for damage in damages)]),
                wanted="one checkpoint that agrees with its manifest",
                way_out="restore one from a copy, or start anew in another --output-dir",
            )
        return None

    def read_part(self, name: str) -> StateTree | None:
        """Return one part of the newest checkpoint whose manifest and file of it are whole; None where none has it.

        The other files are not looked at, so this is cheap, whatever the size of the model.
        """
        for folder in self._newest_first():
            with suppress(CheckpointDamaged, CheckpointVersionError):
                return read_verified_part(folder, name)
        return None

    def load_step(self, step: int) -> Checkpoint:
        """Return the checkpoint of a step; errors as in `load`."""
        return self.load(self.folder / f"step-{step:08d}")

    def remove_later(self, step: int) -> None:
        """Remove every checkpoint of a later step: the run has gone back to this one.

        Raises:
            StorageError: the disk refused.
        """
        with self._publishing, storage_errors("removing checkpoints of", self.folder):
            for folder in self._newest_first():
                if -_age(folder.name)[0] > step:
                    self._remove(folder)
                    self.events.emit("checkpoint_removed", path=str(folder))

    def load(self, path: Path) -> Checkpoint:
        """Verify a checkpoint completely and return it; nothing in it is ever executed.

        Raises:
            CheckpointDamaged: it is not what its manifest says.
            CheckpointVersionError: it was written by another version of the format.
        """
        manifest = read_manifest(path)
        check_folder(path, manifest, contents=True)
        match = CHECKPOINT_NAME.fullmatch(path.name)
        if match is not None and int(match[1]) != manifest.step:
            raise CheckpointDamaged(path, expected=f"step {manifest.step}", found=f"a folder named {path.name}")
        checkpoint = read_folder(path, manifest)
        self._verified.add(path.name)
        return checkpoint

    def _put_in_place(self, prepared: PreparedSave, target: Path) -> None:
        aside = target.with_name(f"{target.name}.tmp-{os.getpid()}")
        try:
            write_folder(aside, prepared)
            if target.exists():
                os.rename(target, target.with_name(f"{target.name}.replaced-{os.getpid()}"))
            os.rename(aside, target)
        except BaseException:
            with suppress(OSError):
                remove_folder(aside)
            raise
        sync_folder(self.folder)

    def _newest_first(self) -> list[Path]:
        """Return the checkpoint folders, the highest step first, one being replaced after its replacement."""
        require_kind(self.folder, "folder")
        if not self.folder.is_dir():
            return []
        with storage_errors("reading", self.folder):
            names = [name for name in os.listdir(self.folder) if CHECKPOINT_NAME.fullmatch(name)]
        return [self.folder / name for name in sorted(names, key=_age)]

    def _recover(self, events: EventLog) -> None:
        """Finish what an interrupted save or removal left behind."""
        for name in sorted(os.listdir(self.folder)):
            folder = self.folder / name
            try:
                if LEFTOVER_NAME.fullmatch(name):
                    remove_folder(folder)
                elif CHECKPOINT_NAME.fullmatch(name) and ".replaced-" in name:
                    self._recover_replaced(folder)
            except (OSError, CheckpointVersionError) as error:
                events.emit("leftover_not_removed", path=str(folder), reason=str(error))

    def _recover_replaced(self, folder: Path) -> None:
        """Leave one of two saves of a step, under its proper name: the later one, unless only the other is whole."""
        replacement = folder.with_name(folder.name.partition(".")[0])
        if replacement.exists():
            is_needed = not self._is_valid(replacement) and self._is_valid(folder)
            self._remove(replacement if is_needed else folder)
        if not replacement.exists():
            os.rename(folder, replacement)
            sync_folder(self.folder)

    def _prune(self, events: EventLog) -> None:
        """Remove what is older than the newest `keep` valid checkpoints."""
        folders = self._newest_first()
        if len(folders) <= self.keep:
            return
        try:
            valid = [folder for folder in folders if self._is_valid(folder)]
            if len(valid) <= self.keep:
                return
            oldest_kept = folders.index(valid[self.keep - 1])
            for folder in folders[oldest_kept + 1 :]:
                if -_age(folder.name)[0] == self.pinned_step:
                    continue
                self._remove(folder)
                events.emit("checkpoint_removed", path=str(folder))
        except (OSError, UserError) as error:
            events.emit("checkpoints_not_pruned", reason=str(error))

    def _is_valid(self, folder: Path) -> bool:
        """Whether a checkpoint may be counted on: every byte is read once, later only names and sizes."""
        try:
            check_folder(folder, read_manifest(folder), contents=folder.name not in self._verified)
        except CheckpointDamaged:
            return False
        self._verified.add(folder.name)
        return True

    def _remove(self, folder: Path) -> None:
        """Remove a checkpoint; it stops being one in a single step."""
        removed = folder.with_name(f"{folder.name.partition('.')[0]}.removed-{os.getpid()}")
        os.rename(folder, removed)
        sync_folder(self.folder)
        self._verified.discard(folder.name)
        remove_folder(removed)


def _age(name: str) -> tuple[int, str]:
    return -int(name.removeprefix("step-").partition(".")[0]), name
