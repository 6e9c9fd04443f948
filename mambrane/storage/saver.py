"""Saving in the background: the training thread pays for a copy of the state, another thread for the disk.

At most one save is in flight. Its events and its error reach the caller's thread at the next poll (the runner polls
after each step), save or close, so that neither is lost and listeners of the event log are called from one thread
only. The files are those of a save in the foreground, byte for byte.
"""

import threading
from collections.abc import Mapping
from types import TracebackType

from torch import Tensor

from mambrane.core.events import Event, EventLog
from mambrane.storage.checkpoint import Checkpoints
from mambrane.storage.checkpoint_files import PreparedSave, prepare
from mambrane.storage.state_files import StateTree


class BackgroundSaver:
    """Saves into `checkpoints` from a thread of its own; use it as a context manager, or close it."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self._pending: _PendingSave | None = None

    def save_async(
        self,
        step: int,
        parts: Mapping[str, StateTree],
        *,
        weights: Mapping[str, Mapping[str, Tensor]],
    ) -> None:
        """Copy the state and return; the writing goes on in the background. Arguments as in Checkpoints.save.

        Raises:
            StorageError: the save before this one failed; this one was not begun.
            TypeError: a part holds something that is no state.
        """
        self.wait()
        self._pending = _PendingSave(self.checkpoints, prepare(step, parts, weights=weights, copy=True))

    def poll(self) -> bool:
        """Return whether a save is still pending; one that has ended reports its events, or raises its error."""
        if self._pending is not None and not self._pending.is_running():
            self.wait()
        return self._pending is not None

    def wait(self) -> None:
        """Wait for the pending save and report its events; raises its error."""
        if self._pending is None:
            return
        pending = self._pending
        error = pending.join()
        self._pending = None
        for event in pending.events:
            fields = {key: value for key, value in event.items() if key not in ("event", "time_s")}
            self.checkpoints.events.emit(event["event"], **fields)
        if error is not None:
            raise error

    def close(self) -> None:
        """Wait for the pending save; raises its error. The saver can be used again afterwards."""
        self.wait()

    def __enter__(self) -> "BackgroundSaver":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.close()
        except Exception as late:
            if error is None:
                raise
            error.add_note(f"and the save in flight failed: {late}")


class _PendingSave:
    """One save, its thread, and what it reports."""

    def __init__(self, checkpoints: Checkpoints, prepared: PreparedSave) -> None:
        self.events: list[Event] = []
        self._error: BaseException | None = None
        # Not a daemon: an interpreter that exits waits for the save instead of tearing it.
        self._thread = threading.Thread(target=self._run, args=(checkpoints, prepared), name="checkpoint-saver")
        self._thread.start()

    def is_running(self) -> bool:
        return self._thread.is_alive()

    def join(self) -> BaseException | None:
        self._thread.join()
        return self._error

    def _run(self, checkpoints: Checkpoints, prepared: PreparedSave) -> None:
        log = EventLog()
        log.listeners.append(self.events.append)
        try:
            checkpoints.publish(prepared, log)
        except BaseException as error:
            self._error = error
