"""Death in the middle of a save: every call that changes the disk can be the last thing that a process does.

A process that is killed (SIGKILL, out of memory, a job's time limit) leaves behind what its calls so far have put on
the disk. So the process ends (os._exit) right after call number n, for every n; and for a call that writes a whole
file or block, once more with only the first half of it there. Buffered writes that no call has flushed are lost.
Watched: the calls of `os`, `open` for writing, torch.save and the writer of safetensors, which are not made of those.
"""

import builtins
import io
import os
from collections.abc import Callable
from types import TracebackType
from typing import Any

import safetensors.torch
import torch

CHANGING = ("mkdir", "rename", "replace", "unlink", "remove", "rmdir", "write", "fsync", "sendfile")
WRITERS = ("torch.save", "safetensors", "write", "sendfile")
"""Calls that a death can also leave half done."""
HALVES: dict[str, Callable[..., tuple[Any, ...]]] = {
    "write": lambda descriptor, block: (descriptor, block[: len(block) // 2]),
    "sendfile": lambda target, source, offset, _: (target, source, offset, os.fstat(source).st_size // 2),
}
"""Arguments with which a call does half of its work; what the other writers wrote is cut in half afterwards."""


class DiskCalls:
    """Counts the calls in a block of code and ends the process at one of them.

    Args:
        die_at: the number of the last call, from 0; None never dies.
        torn: leave half of what that call wrote.
        status: exit status of the death.
    """

    def __init__(self, die_at: int | None, *, torn: bool, status: int) -> None:
        self.names: list[str] = []
        self._die_at, self._torn, self._status = die_at, torn, status
        self._is_inside = False
        self._originals: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> "DiskCalls":
        for name in CHANGING:
            self._patch(os, name, name)
        self._patch(os, "open", "open", counts=lambda arguments, _: bool(arguments[1] & os.O_CREAT))
        for module in (builtins, io):
            self._patch(module, "open", "open", counts=_opens_for_writing)
        self._patch(torch, "save", "torch.save", counts=lambda arguments, _: _is_path(arguments[1]))
        self._patch(safetensors.torch, "serialize_file", "safetensors")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for module, name, original in reversed(self._originals):
            setattr(module, name, original)

    def _patch(
        self,
        module: Any,  # noqa: ANN401 -- a module
        name: str,
        label: str,
        counts: Callable[[Any, Any], bool] = lambda arguments, options: True,
    ) -> None:
        original = getattr(module, name)
        self._originals.append((module, name, original))

        def call(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 -- stands in for any call
            if self._is_inside or not counts(arguments, options):
                return original(*arguments, **options)
            number = len(self.names)
            self.names.append(label)
            is_last = number == self._die_at
            if is_last and self._torn and label in HALVES:
                original(*HALVES[label](*arguments))
                os._exit(self._status)
            self._is_inside = True
            try:
                return original(*arguments, **options)
            finally:
                self._is_inside = False
                if is_last:
                    if self._torn:
                        _halve(arguments[1])
                    os._exit(self._status)

        setattr(module, name, call)


def _opens_for_writing(arguments: Any, options: Any) -> bool:  # noqa: ANN401 -- arguments of open
    mode = options.get("mode", arguments[1] if len(arguments) > 1 else "r")
    return any(letter in mode for letter in "wax+")


def _is_path(target: Any) -> bool:  # noqa: ANN401 -- a path or a file
    return isinstance(target, (str, os.PathLike))


def _halve(path: str | os.PathLike[str]) -> None:
    os.truncate(path, os.path.getsize(path) // 2)
