"""How the arguments of a command are read."""

import io
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from typing import Any, TypeVar

import tyro

from mambrane.app.arguments import CompareArguments, CompletionArguments, InfoArguments, ScoreArguments, StudyArguments
from mambrane.app.flags import hints_of, require_run, split_words
from mambrane.app.help import command_help
from mambrane.core.errors import UserError

HELP_FLAGS = ("-h", "--help")

T = TypeVar("T")

NUM_POSITIONAL: dict[type, int] = {ScoreArguments: 2, CompareArguments: 1_000}
"""Arguments without a flag that a command takes at most, where that is not one."""


def parse_known(kind: type[T], argv: Sequence[str], *, default: T) -> T:
    """Read some settings and pass over all others."""
    parsed, _ = tyro.cli(
        kind,
        config=(tyro.conf.OmitArgPrefixes,),
        args=list(argv),
        default=default,
        prog="mambrane train",
        return_unknown_args=True,
        add_help=False,
    )
    return parsed


def parse(kind: type[T], argv: Sequence[str], *, command: str, default: T | None = None) -> T:
    """Return the arguments of a command; where they ask for help, it is printed, and the program left."""
    if default is None:
        if asks_for_help(argv):
            sys.stdout.write(command_help(command, kind))
            raise SystemExit(0)
        positional, _ = split_words(argv, hints_of(kind), command=command, num_positional=NUM_POSITIONAL.get(kind, 1))
        if kind not in (InfoArguments, StudyArguments, CompletionArguments):
            require_run(positional, command)
    options: dict[str, Any] = {} if default is None else {"default": default}
    told = io.StringIO()
    try:
        with redirect_stderr(told):
            return tyro.cli(
                kind,
                args=list(argv),
                prog=f"mambrane {command}",
                add_help=False,
                config=(tyro.conf.OmitArgPrefixes,),
                **options,
            )
    except SystemExit as left:
        # Where a setting refused its value, tyro keeps our error behind its own.
        error: BaseException | None = left
        while error is not None and not isinstance(error, UserError):
            error = error.__cause__ or error.__context__
        if error is not None:
            raise error from None
        sys.stderr.write(told.getvalue())
        raise


def asks_for_help(argv: Sequence[str]) -> bool:
    """Return whether help is asked for."""
    return any(flag in HELP_FLAGS for flag in argv)
