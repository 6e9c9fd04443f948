"""Errors that a user can act on. The command line prints them in red without a traceback."""


class MambraneError(Exception):
    """Base of all errors that are answered with a message instead of a traceback."""


class UserError(MambraneError, ValueError):
    """A mistake in what was asked: says what was found, what was wanted and the way out."""

    def __init__(self, found: str, *, wanted: str, way_out: str) -> None:
        self.found, self.wanted, self.way_out = found, wanted, way_out
        super().__init__(f"{found}\n  wanted:  {wanted}\n  way out: {way_out}")
