"""The command line: arguments in, one command out. Everything slow is imported after they have been understood."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

from mambrane import __version__
from mambrane.app.arguments import (
    SHELLS,
    CompareArguments,
    CompletionArguments,
    EvaluateArguments,
    ExportArguments,
    GenerateArguments,
    InfoArguments,
    LearnArguments,
    ReportArguments,
    ScoreArguments,
    ServeArguments,
    StudyArguments,
    TrainArguments,
    WatchArguments,
)
from mambrane.app.flags import check_flags, check_run, given_settings, hints_of, long_forms, without_run
from mambrane.app.help import train_help
from mambrane.app.openmp import limit_openmp_spin
from mambrane.app.parsing import HELP_FLAGS, asks_for_help, parse
from mambrane.app.streams import flush_or_give_up, give_up, open_closed_streams, tell
from mambrane.app.train_settings import base_of, parse_start, parse_train
from mambrane.app.usage import LEARN_INTRODUCTION, TRAIN_INTRODUCTION, USAGE
from mambrane.core.errors import INTERRUPTED_EXIT_CODE, TAKEN_BACK_EXIT_CODE, MambraneError, UserError
from mambrane.run.config import RunConfig
from mambrane.run.effects import settings_without_effect
from mambrane.run.later_task import LATER_TASK
from mambrane.run.presets import COSTS, PRESETS
from mambrane.run.task_settings import for_learning, may_change

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
    if argv[0] not in COMMANDS:
        raise UserError(f"no command {argv[0]!r}", wanted=", ".join(COMMANDS), way_out="mambrane --help")
    _require_working_folder()
    return COMMANDS[argv[0]](argv[1:])


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
    check_flags(argv, hints, command="learn", num_positional=1)
    check_run(argv, hints, command="learn")
    run, settings = without_run(argv, hints, command="learn")
    given = given_settings(settings)
    if "data" not in given:
        way_out = f"mambrane learn {run} --data PATH"
        raise UserError("mambrane learn without --data", wanted="text to learn", way_out=way_out)
    from mambrane.app.learn import learn, print_plan
    from mambrane.run.configuration import read_configuration
    from mambrane.storage.run_folder import RunFolder

    later = for_learning(read_configuration(RunFolder(Path(run))), {})
    default = LearnArguments(**{f.name: getattr(later, f.name) for f in fields(RunConfig)})
    parsed = parse(LearnArguments, long_forms(settings), command="learn", default=default)
    sections = [getattr(parsed, section.name) for section in fields(parsed)]
    asked = {f.name: getattr(section, f.name) for section in sections for f in fields(section) if f.name in given}
    if asked.pop("dry_run", False):
        return print_plan(Path(run), asked)
    return learn(Path(run), asked)


def _evaluate(argv: Sequence[str]) -> int:
    arguments = parse(EvaluateArguments, argv, command="evaluate")
    from mambrane.app.evaluate import evaluate

    return evaluate(arguments.run, data=arguments.data, weights=arguments.weights, device=arguments.device)


def _generate(argv: Sequence[str]) -> int:
    arguments = parse(GenerateArguments, argv, command="generate")
    from mambrane.app.generate import generate

    return generate(**{f.name: getattr(arguments, f.name) for f in fields(GenerateArguments)})


def _report(argv: Sequence[str]) -> int:
    arguments = parse(ReportArguments, argv, command="report")
    from mambrane.app.report import report

    return report(arguments.run, arguments.output)


def _watch(argv: Sequence[str]) -> int:
    arguments = parse(WatchArguments, argv, command="watch")
    from mambrane.app.watch import watch

    return watch(arguments.run, arguments.port)


def _serve(argv: Sequence[str]) -> int:
    arguments = parse(ServeArguments, argv, command="serve")
    from mambrane.app.openai_requests import Limits
    from mambrane.app.serve import serve

    limits = Limits(**{f.name: getattr(arguments, f.name) for f in fields(Limits)})
    given = {name: getattr(arguments, name) for name in ("host", "port", "weights", "device")}
    return serve(arguments.run, limits=limits, **given)


def _score(argv: Sequence[str]) -> int:
    arguments = parse(ScoreArguments, argv, command="score")
    from mambrane.app.score import score

    return score(**{f.name: getattr(arguments, f.name) for f in fields(ScoreArguments)})


def _compare(argv: Sequence[str]) -> int:
    arguments = parse(CompareArguments, argv, command="compare")
    from mambrane.app.compare import compare

    return compare(arguments.runs, format=arguments.format)


def _export(argv: Sequence[str]) -> int:
    arguments = parse(ExportArguments, argv, command="export")
    from mambrane.app.export import export

    return export(**{f.name: getattr(arguments, f.name) for f in fields(ExportArguments)})


def _info(argv: Sequence[str]) -> int:
    arguments = parse(InfoArguments, argv, command="info")
    if arguments.run is None:
        from mambrane.app.machine import print_machine

        return print_machine()
    from mambrane.app.info import info

    return info(arguments.run)


def _study(argv: Sequence[str]) -> int:
    arguments = parse(StudyArguments, argv, command="study")
    from mambrane.app.study import list_studies, study

    if arguments.list:
        return list_studies()
    if not arguments.study:
        raise UserError("mambrane study without a study", wanted="a file, or a name", way_out="mambrane study --list")
    return study(arguments.study, output_dir=arguments.output_dir, jobs=arguments.jobs, dry_run=arguments.dry_run)


def _completion(argv: Sequence[str]) -> int:
    if not argv or (argv[0] not in SHELLS and not asks_for_help(argv)):
        found = " ".join(["mambrane completion", *argv[:1]])
        raise UserError(found, wanted="one of " + ", ".join(SHELLS), way_out="mambrane completion bash")
    arguments = parse(CompletionArguments, argv, command="completion")
    from mambrane.app.completion import completion

    return completion(arguments.shell)


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "train": _train,
    "learn": _learn,
    "evaluate": _evaluate,
    "generate": _generate,
    "score": _score,
    "compare": _compare,
    "report": _report,
    "watch": _watch,
    "serve": _serve,
    "export": _export,
    "info": _info,
    "study": _study,
    "completion": _completion,
}


def _print(text: str) -> int:
    sys.stdout.write(text)
    return 0
