"""The folder of a run: where each file is, the lock that keeps a second process out, and the run's configuration.

    config.json  environment.json  domains.json  tokenizer.json  events.jsonl  matrix.json  tasks.json  heldout/
    tensorboard/  metrics.csv  report.html  checkpoints/  run.lock

The lock is the system's own on run.lock (flock; LockFileEx on Windows): it is given back when its holder ends, however
it ends, so the file itself staying behind means nothing. There is no fallback to a lock that only counts as long as its
file is removed. Reading a run needs no lock.
"""

import json
import os
import socket
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import lock_descriptor

from mambrane.core.errors import UserError, damaged_file
from mambrane.core.ordinary_files import read_ordinary
from mambrane.core.renamed import with_present_settings
from mambrane.storage.atomic_files import BINARY, atomic_write_text, make_folder, require_kind, storage_errors
from mambrane.storage.state_files import decode_state, encode_state


class InUseError(UserError):
    """Another process holds the folder."""


ABSENT = "absent"
"""Shown in place of a value that only one of two configurations has."""
_UNREADABLE = b" "
"""First byte of the lock file: on Windows it is what is locked, and no other process can read it."""


class RunFolder:
    """The files of a run; making one touches nothing on the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.json"
        self.domains_file = path / "domains.json"
        self.events_file = path / "events.jsonl"
        self.matrix_file = path / "matrix.json"
        self.tokenizer_file = path / "tokenizer.json"
        self.report_file = path / "report.html"
        self.tasks_file = path / "tasks.json"
        self.heldout_folder = path / "heldout"
        self.tensorboard_folder = path / "tensorboard"
        self.numbers_file = path / "metrics.csv"
        self.checkpoints_folder = path / "checkpoints"
        self.environment_file = path / "environment.json"
        self.lock_file = path / "run.lock"

    def require_run(self) -> None:
        """Raise UserError where this is not the folder of a run."""
        if not self.config_file.exists():
            raise UserError(
                f"{self.path} is not the folder of a run", wanted="a folder with a config.json", way_out="ls runs"
            )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Create the folder and keep every other training process out of it for the length of the block.

        Raises:
            UserError: another process holds it; the message names its process number and host. Or nothing can be locked
                here. Or something else lies in the place of one of its files or folders.
            StorageError: the folder cannot be made or written to.
        """
        require_kind(self.path, "folder")
        with storage_errors("opening", self.path):
            make_folder(self.path)
        self._refuse_other_kinds()
        with storage_errors("opening", self.lock_file):
            descriptor = os.open(self.lock_file, os.O_RDWR | os.O_CREAT | BINARY, 0o666)
        try:
            self._acquire(descriptor)
            self._clear_leftovers()
            yield
        finally:
            os.close(descriptor)

    def match_or_create(
        self,
        config: Mapping[str, Any],
        *,
        operational: Collection[str] = (),
        defaults: Mapping[str, Any] | None = None,
        writes: bool = True,
    ) -> bool:
        """Return True when this folder holds a run of this configuration, False when it was empty and now has it.

        Args:
            config: the whole configuration, nested, of JSON values.
            operational: dotted names ("engine.save_every") of fields that may change between two sessions of one
                run, because the weights do not depend on them; a name also stands for everything below it.
            defaults: the value of each setting of this version in a run that was saved before it existed. Without
                them a setting that only one side has is a difference.
            writes: put operational settings that changed into the saved configuration; False only compares.

        Raises:
            UserError: a run of another configuration is here, or one with settings that this version does not know;
                the message lists each.
        """
        if not self.config_file.exists():
            self._refuse_orphans()
            self._write_config(config)
            return False
        saved = self.read_config()
        if defaults is not None:
            self._refuse_unknown(saved, defaults)
        filled = filled_in(saved, defaults or {})
        differences = config_differences(filled, config, operational=operational)
        if differences:
            raise UserError(
                "\n  ".join([f"{self.path} holds a run of another configuration:", *differences]),
                wanted="the same configuration, to resume that run",
                way_out="choose another --output-dir, or set these fields back",
            )
        if writes and config_differences(saved, config):
            self._write_config(config)
        return True

    def settings_saved_without(self, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """Return each setting that the run here was saved without, by dotted name, with its default."""
        if not self.config_file.exists():
            return {}
        saved, known = (_flatten("", _plain(config)) for config in (self.read_config(), defaults))
        return {name: json.loads(value) for name, value in known.items() if name not in saved}

    def read_config(self) -> dict[str, Any]:
        """Return the configuration that the run was started with, operational fields as last set.

        Raises:
            UserError: there is none, or it cannot be read.
        """
        try:
            config = decode_state(read_ordinary(self.config_file), {})
            if not isinstance(config, dict):
                raise TypeError("not settings by section")
            return with_present_settings(config)
        # A file of any content: every wrong type or shape shows as one of these.
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            raise damaged_file(
                self.config_file,
                error,
                wanted="the configuration of a run",
                way_out="restore the file from a copy, or choose another folder",
            ) from error

    def _acquire(self, descriptor: int) -> None:
        try:
            is_ours = lock_descriptor(descriptor, blocking=False)
        except OSError as error:
            raise UserError(
                f"{self.lock_file}: this file system cannot lock: {error.strerror or error}",
                wanted="a file system with locks",
                way_out="choose an --output-dir on another disk",
            ) from error
        if not is_ours:
            raise InUseError(
                f"{self.path} is in use by {_holder(descriptor)}",
                wanted="one training process in a folder",
                way_out="wait for it, stop it, or choose another --output-dir",
            )
        holder = _UNREADABLE + json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode()
        with storage_errors("writing", self.lock_file):
            os.write(descriptor, holder)
            os.ftruncate(descriptor, len(holder))

    def _refuse_other_kinds(self) -> None:
        """Refuse what could not be written to later, before anything is trained."""
        for name, path in vars(self).items():
            if name.endswith(("_file", "_folder")):
                require_kind(path, "folder" if name.endswith("_folder") else "file")

    def _clear_leftovers(self) -> None:
        """Remove what a process that was killed while it replaced a file left beside that file."""
        for file in self.path.glob("*.tmp-*"):
            pid = file.name.rpartition("-")[2]
            if pid.isdecimal() and not _is_alive(int(pid)):
                with storage_errors("removing", file):
                    file.unlink(missing_ok=True)

    def _refuse_orphans(self) -> None:
        if any(self.checkpoints_folder.glob("step-*")):
            raise UserError(
                f"{self.path} has checkpoints and no {self.config_file.name}",
                wanted="the configuration that they belong to",
                way_out="restore the file from a copy, or choose another --output-dir",
            )

    def _refuse_unknown(self, saved: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        fields, known = (_flatten("", _plain(config)) for config in (saved, defaults))
        unknown = [f"{name}: {value}" for name, value in sorted(fields.items()) if name not in known]
        if unknown:
            raise UserError(
                "\n  ".join([f"{self.path} was saved with settings that this version does not know:", *unknown]),
                wanted="a run of this version or an earlier one",
                way_out="use the version of mambrane that saved it, or another --output-dir",
            )

    def _write_config(self, config: Mapping[str, Any]) -> None:
        atomic_write_text(self.config_file, json.dumps(_plain(config), indent=2) + "\n")


def filled_in(saved: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the saved configuration with everything that it lacks, on any level, taken from `defaults`."""
    return {**defaults, **saved} | {
        name: filled_in(saved[name], default)
        for name, default in defaults.items()
        if isinstance(default, Mapping) and isinstance(saved.get(name), Mapping)
    }


def config_differences(
    old: Mapping[str, Any], new: Mapping[str, Any], *, operational: Collection[str] = ()
) -> list[str]:
    """Return one line "field: old -> new" for each field that differs, operational ones left out."""
    old_fields, new_fields = _identity(old, operational), _identity(new, operational)
    return [
        f"{name}: {old_fields.get(name, ABSENT)} -> {new_fields.get(name, ABSENT)}"
        for name in sorted({*old_fields, *new_fields})
        if old_fields.get(name, ABSENT) != new_fields.get(name, ABSENT)
    ]


def _identity(config: Mapping[str, Any], operational: Collection[str]) -> dict[str, str]:
    """Return the fields that count, by dotted name, as JSON text."""
    fields = _flatten("", _plain(config))
    return {
        name: value
        for name, value in fields.items()
        if not any(name == field or name.startswith(f"{field}.") for field in operational)
    }


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration as JSON: lists for tuples, marks for numbers that JSON lacks."""
    return json.loads(encode_state(config).json)


def _flatten(prefix: str, value: Any) -> dict[str, str]:  # noqa: ANN401 -- any JSON value
    if not isinstance(value, dict) or not value:
        return {prefix: json.dumps(value)}
    fields: dict[str, str] = {}
    for key, item in value.items():
        fields |= _flatten(f"{prefix}.{key}" if prefix else key, item)
    return fields


def _is_alive(pid: int) -> bool:
    """Return False only for a process that is known to have ended."""
    # There os.kill(pid, 0) does not ask: it sends Ctrl-C. What a killed process left stays.
    if sys.platform == "win32":
        return True
    try:
        os.kill(pid, 0)
    # OverflowError: a number that no process has.
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _holder(descriptor: int) -> str:
    """Return who holds the lock, as it wrote itself down."""
    try:
        os.lseek(descriptor, len(_UNREADABLE), os.SEEK_SET)
        holder = json.loads(os.read(descriptor, 4096))
        return f"process {holder['pid']} on {holder['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
