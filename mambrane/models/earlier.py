"""Weights that an earlier version wrote for a block that is no more."""

from collections.abc import Iterable

from mambrane.core.errors import UserError

TWO_PATHS = ".fusion.bias"
"""A weight that every hybrid block of 0.1.0 had: two paths side by side, mixed head by head."""
LAST_COMMIT = "1d247ad7"
"""The last commit of the project whose version is 0.1.0; that version was never published as a package."""


def require_present_blocks(names: Iterable[str]) -> None:
    """Raise UserError where weights of these names belong to the hybrid block of 0.1.0."""
    found = next((name for name in names if name.endswith(TWO_PATHS)), None)
    if found:
        raise UserError(
            f"the weight {found}: these weights belong to the hybrid block of Mambrane 0.1.0, which this version "
            "does not have any more",
            wanted="weights of a hybrid block of 0.2.0 or later, or of any other block",
            way_out=f"go on with the version that wrote them (commit {LAST_COMMIT} of the project), or train anew",
        )
