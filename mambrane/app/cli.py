"""The command line: arguments in, one command out. Everything slow is imported after they have been understood."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

from mambrane import __version__
from mambrane.app.arguments import ARGUMENTS, SHELLS, LearnArguments, TrainArguments
from mambrane.app.flags import given_settings, hints_of, long_forms, require_run, split_words
from mambrane.app.help import train_help
from mambrane.app.openmp import limit_openmp_spin
from mambrane.app.parsing import HELP_FLAGS, asks_for_help, parse
from mambrane.app.streams import flush_or_give_up, give_up, open_closed_streams, tell
from mambrane.app.train_settings import base_of, parse_start, parse_train
from mambrane.app.usage import LEARN_INTRODUCTION, TRAIN_INTRODUCTION, USAGE
from mambrane.core.errors import INTERRUPTED_EXIT_CODE, TAKEN_BACK_EXIT_CODE, MambraneError, UserError
from mambrane.settings.config import RunConfig
from mambrane.settings.effects import settings_without_effect
from mambrane.settings.later_task import LATER_TASK
from mambrane.settings.presets import COSTS, PRESETS
from mambrane.settings.task_settings import for_learning, may_change

USER_ERROR_EXIT_CODE = 2
LOST_OUTPUT_EXIT_CODE = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code of the program."""
    open_closed_streams()
    limit_openmp_spin()
    argv = list(sys.argv[1:] if arguments is None else arguments)
    exit_code = _exit_code_of(argv)
    lost = flush_or_give_up("stdout")
    flush_or_give_up("stderr")
    if lost is not None and exit_code == 0:
        return _tell_lost_output(lost)
    return exit_code


def _exit_code_of(argv: Sequence[str]) -> int:
    """Run one command; answer what went wrong with a line in place of a traceback."""
    try:
        return _run(argv)
    except MambraneError as error:
        return _tell_error(str(error))
    except KeyboardInterrupt:
        tell("interrupted")
        return INTERRUPTED_EXIT_CODE
    except SystemExit as end:
        # rich ends the program where the reader of its output has left.
        if isinstance(end.__context__, BrokenPipeError):
            give_up("stdout")
            return 0
        return end.code if isinstance(end.code, int) else USER_ERROR_EXIT_CODE * (end.code is not None)
    except BrokenPipeError:
        give_up("stdout")
        return 0
    except OSError as error:
        lost = flush_or_give_up("stdout")
        return _tell_error(str(error)) if lost is None else _tell_lost_output(lost)
    except (MemoryError, RuntimeError) as error:
        # torch reports memory that the system refuses as a RuntimeError.
        if not (isinstance(error, MemoryError) or "memory" in str(error)):
            raise
        return _tell_error(f"not enough memory: {str(error) or 'the system gives no more'}")


def _run(argv: Sequence[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(USAGE.format(version=__version__))  # noqa: T201 -- the answer of the program
        return 0
    if argv[0] == "--version":
        print(__version__)  # noqa: T201 -- the answer of the program
        return 0
    command = argv[0]
    if command not in ARGUMENTS:
        raise UserError(f"no command {command!r}", wanted=", ".join(ARGUMENTS), way_out="mambrane --help")
    _require_working_folder()
    own = _READ_OTHERWISE.get(command)
    return _call(command, argv[1:]) if own is None else own(argv[1:])


def _require_working_folder() -> None:
    """Refuse a working folder that was deleted: torch ends the process without a word of what is wrong."""
    try:
        os.getcwd()
    except OSError as error:
        raise UserError(
            f"the working folder cannot be used: {error.strerror}",
            wanted="a folder that is there",
            way_out="cd to another folder",
        ) from error


def _tell_error(message: str) -> int:
    tell(("error", "bold red"), " ", message)
    return USER_ERROR_EXIT_CODE


def _tell_lost_output(error: OSError) -> int:
    """Say that the answer did not arrive; a reader that has left has seen what it wanted."""
    if isinstance(error, BrokenPipeError):
        return 0
    tell(("error", "bold red"), f" standard output: {error.strerror or error}")
    return LOST_OUTPUT_EXIT_CODE


def _train(argv: Sequence[str]) -> int:
    if asks_for_help(argv):
        return _print(_train_help(argv))
    config, base, start = parse_train(argv), base_of(argv), parse_start(argv)
    if start.json and not config.run.dry_run:
        raise UserError("--json without --dry-run", wanted="a plan to print", way_out="add --dry-run")
    warnings = settings_without_effect(config, base, given_settings(argv))
    from mambrane.app.train import train

    return train(config, warnings, plan_as_json=start.json)


def _train_help(argv: Sequence[str]) -> str:
    """Return the help of `mambrane train`; with --preset among the arguments, with the defaults of that preset."""
    known = [word for word in argv if word not in HELP_FLAGS]
    start = parse_start(known)
    config = PRESETS[start.preset]()
    defaults = TrainArguments(start=start, **{f.name: getattr(config, f.name) for f in fields(RunConfig)})
    costs = "\n".join(f"  {name:7}{cost}" for name, cost in COSTS.items())
    return train_help(defaults, TRAIN_INTRODUCTION.format(presets=costs))


def _learn(argv: Sequence[str]) -> int:
    if asks_for_help(argv):
        introduction = LEARN_INTRODUCTION.format(taken_back=TAKEN_BACK_EXIT_CODE, recipe=LATER_TASK.words())
        return _print(
            train_help(LearnArguments(), introduction, only=lambda name: may_change(name) or name == "run.dry_run")
        )
    if "init_from" in given_settings(argv):
        # There is no run yet: it begins with the weights, and the same command goes on with it.
        return _train(argv)
    hints = hints_of(LearnArguments)
    positional, settings = split_words(long_forms(argv), hints, command="learn", num_positional=1)
    require_run(positional, "learn")
    (run,) = positional
    given = given_settings(settings)
    if "data" not in given:
        way_out = f"mambrane learn {run} --data PATH"
        raise UserError("mambrane learn without --data", wanted="text to learn", way_out=way_out)
    from mambrane.app.learn import learn, print_plan
    from mambrane.settings.saved_config import read_configuration
    from mambrane.storage.run_folder import RunFolder

    later = for_learning(read_configuration(RunFolder(Path(run))), {})
    default = LearnArguments(**{f.name: getattr(later, f.name) for f in fields(RunConfig)})
    parsed = parse(LearnArguments, settings, command="learn", default=default)
    sections = [getattr(parsed, section.name) for section in fields(parsed)]
    asked = {f.name: getattr(section, f.name) for section in sections for f in fields(section) if f.name in given}
    if asked.pop("dry_run", False):
        return print_plan(Path(run), asked)
    return learn(Path(run), asked)


def _completion(argv: Sequence[str]) -> int:
    if not argv or (argv[0] not in SHELLS and not asks_for_help(argv)):
        found = " ".join(["mambrane completion", *argv[:1]])
        raise UserError(found, wanted="one of " + ", ".join(SHELLS), way_out="mambrane completion bash")
    return _call("completion", argv)


def _call(command: str, argv: Sequence[str]) -> int:
    """Run a command whose function takes the fields of its arguments by name."""
    arguments: Any = parse(ARGUMENTS[command], argv, command=command)
    function = getattr(import_module(f"mambrane.app.{command}"), command)
    return function(**{f.name: getattr(arguments, f.name) for f in fields(arguments)})


_READ_OTHERWISE: dict[str, Callable[[Sequence[str]], int]] = {
    "train": _train,
    "learn": _learn,
    "completion": _completion,
}
"""Commands whose arguments are more, or fewer, than the fields of a dataclass."""


def _print(text: str) -> int:
    sys.stdout.write(text)
    return 0
