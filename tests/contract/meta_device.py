"""A run on the meta device, where tensors have shapes and no numbers: what it would ask of a GPU, counted.

The dispatcher treats the meta device as it treats a GPU, so the same forms run. What a run reads back (`tolist`, a
number, the places of nonzero elements) and what it copies between host and device is noted with its place; every number
that is read is 1.
"""

import collections
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode

import mambrane

PACKAGE = Path(mambrane.__file__).parent
META = torch.device("meta")


class Transfers(TorchDispatchMode):
    """Notes every transfer between the host and the meta device, by kind and place."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: collections.Counter[tuple[str, str]] = collections.Counter()

    def note(self, kind: str) -> None:
        frames = [frame for frame in traceback.extract_stack() if PACKAGE in Path(frame.filename).parents]
        self.seen[kind, str(Path(frames[-1].filename).relative_to(PACKAGE)) if frames else "torch"] += 1

    def taken(self) -> dict[tuple[str, str], int]:
        """Return what was noted since the last call."""
        taken, self.seen = dict(self.seen), collections.Counter()
        return taken

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        name, options = str(func), kwargs or {}
        if name == "aten._local_scalar_dense.default" and args[0].is_meta:
            self.note("read")
            return {torch.bool: True, torch.int64: 1}.get(args[0].dtype, 1.0)
        if name == "aten.nonzero.default" and args[0].is_meta:
            self.note("nonzero")
            return torch.empty((args[0].numel(), args[0].dim()), dtype=torch.int64, device=META)
        if name in ("aten._to_copy.default", "aten.copy_.default"):
            into = name == "aten.copy_.default"
            source = args[1] if into else args[0]
            target = args[0].device if into else torch.device(options.get("device") or source.device)
            if target.type != source.device.type:
                self.note(f"{source.device.type} to {target.type}")
                if source.is_meta:
                    return args[0] if into else torch.ones(source.shape, dtype=options.get("dtype") or source.dtype)
        return func(*args, **options)


@contextmanager
def counted_transfers() -> Iterator[Transfers]:
    """Count what is transferred inside the context."""
    transfers, tolist = Transfers(), torch.Tensor.tolist

    def told(tensor: torch.Tensor) -> Any:
        if not tensor.is_meta:
            return tolist(tensor)
        transfers.note("read")
        return tolist(torch.ones(tensor.shape, dtype=tensor.dtype))

    # Autocast does not know the meta device; the runs here are in float32.
    without_autocast = mock.patch.object(torch, "is_autocast_enabled", return_value=False)
    with mock.patch.object(torch.Tensor, "tolist", told), without_autocast, transfers:
        yield transfers
