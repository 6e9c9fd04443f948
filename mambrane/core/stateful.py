"""The one protocol behind every checkpoint: an object whose state is a value that can be saved and loaded."""

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Stateful(Protocol):
    """Anything that survives a restart.

    The state is a tree of dicts, lists, str, int, float, bool, None and tensors; nothing else is ever written.
    """

    def state_dict(self) -> dict[str, Any]:
        """Return the state; tensors may alias live ones, the writer copies."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the state back; raises ValueError or KeyError when it does not fit."""
        ...
