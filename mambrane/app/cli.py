"""The command line: words in, one command out. Everything slow is imported after the words have been understood."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Literal

import tyro

from mambrane import __version__
from mambrane.app.streams import flush_or_give_up, give_up, open_closed_streams, tell
from mambrane.app.waiting import let_waiting_threads_sleep
from mambrane.continual.config import ContinualConfig
from mambrane.core.bounds import Bounds, Seed, check_settings
from mambrane.core.errors import INTERRUPTED_EXIT_CODE, MambraneError, UserError
from mambrane.data.config import DataConfig
from mambrane.engine.config import EngineConfig
from mambrane.models.config import ModelConfig
from mambrane.plasticity.config import PlasticityConfig
from mambrane.run.config import RunConfig, RunOptions, Weights, from_dict, read_config_file
from mambrane.run.effects import settings_without_effect
from mambrane.run.presets import PRESETS

USAGE = """\
Mambrane {version}: hybrid spiking, liquid and Mamba language models, trained task after task without forgetting.

  mambrane train    [--preset tiny] ...       train; run it again to resume
  mambrane evaluate RUN                       bits per byte of every domain
  mambrane generate RUN --prompt "..."        write text
  mambrane report   RUN                       one HTML page about the run
  mambrane info     RUN                       what the model is made of and what it costs

RUN is the folder of a run. `mambrane COMMAND --help` explains each command.
"""
USER_ERROR_EXIT_CODE = 2
LOST_OUTPUT_EXIT_CODE = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class StartOptions:
    """Where the defaults come from: a preset, then a file, then the flags below."""

    preset: Literal["tiny", "small", "base"] = "base"
    """Size of the run: tiny (minutes on two cores), small, base."""
    config: Path | None = None
    """JSON file with settings by section, such as the config.json of another run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainArguments:
    """Train a model on a sequence of text domains. Run the same command again after any interruption: it resumes."""

    start: StartOptions = field(default_factory=StartOptions)
    run: RunOptions = field(default_factory=RunOptions)
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    plasticity: PlasticityConfig = field(default_factory=PlasticityConfig)
    continual: ContinualConfig = field(default_factory=ContinualConfig)


Run = Annotated[Path, tyro.conf.Positional]


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateArguments:
    """Measure a trained model on the held-out text of every domain."""

    run: Run
    """Folder of the run."""
    data: tuple[str, ...] = ()
    """Other text than the run's own: files, folders, hf:NAME."""
    weights: Weights = "auto"
    """auto: those the run measures itself with, the average (with --ema-decay), else the trained ones; or name one."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerateArguments:
    """Write text with a trained model, character by character, at constant memory."""

    run: Run
    """Folder of the run."""
    prompt: str = ""
    """Text to go on from; left out, the model starts a new document."""
    max_tokens: Annotated[int, Bounds(1, 2**62)] = 256
    """Tokens to write at most."""
    temperature: float = 0.8
    """Above 1 is wilder, below 1 tamer, 0 always takes the most likely token."""
    top_k: int = 0
    """Draw from the k most likely tokens only; 0 draws from all."""
    top_p: float = 1.0
    """Draw from the most likely tokens that together have this probability."""
    seed: Seed = 0
    """Seed of the draw; equal seeds write equal text."""
    weights: Weights = "auto"
    """auto: those the run measures itself with, the average (with --ema-decay), else the trained ones; or name one."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportArguments:
    """Write one self-contained HTML page with pictures about a run."""

    run: Run
    """Folder of the run."""
    output: Path | None = None
    """File to write; left out: report.html in the run's folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InfoArguments:
    """Show what a run's model is made of and what it costs, part by part."""

    run: Run
    """Folder of the run."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code of the program."""
    open_closed_streams()
    let_waiting_threads_sleep()
    words = list(sys.argv[1:] if arguments is None else arguments)
    exit_code = _exit_code_of(words)
    lost = flush_or_give_up("stdout")
    flush_or_give_up("stderr")
    if lost is not None and exit_code == 0:
        return _tell_lost_output(lost)
    return exit_code


def _exit_code_of(words: Sequence[str]) -> int:
    """Run one command; answer what went wrong with a line in place of a traceback."""
    try:
        return _run(words)
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


def _run(words: Sequence[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE.format(version=__version__))  # noqa: T201 -- the answer of the program
        return 0
    if words[0] == "--version":
        print(__version__)  # noqa: T201 -- the answer of the program
        return 0
    if words[0] not in COMMANDS:
        raise UserError(f"no command {words[0]!r}", wanted=", ".join(COMMANDS), way_out="mambrane --help")
    return COMMANDS[words[0]](words[1:])


def _tell_error(words: str) -> int:
    tell(("error", "bold red"), " ", words)
    return USER_ERROR_EXIT_CODE


def _tell_lost_output(error: OSError) -> int:
    """Say that the answer did not arrive; a reader that has left has seen what it wanted."""
    if isinstance(error, BrokenPipeError):
        return 0
    tell(("error", "bold red"), f" standard output: {error.strerror or error}")
    return LOST_OUTPUT_EXIT_CODE


def parse_train(words: Sequence[str]) -> RunConfig:
    """Return the configuration that the words of `mambrane train` describe.

    Raises:
        UserError: a file or a combination of settings that does not fit.
        SystemExit: help was asked for, or a word was not understood.
    """
    start = _parse_start(words)
    base = PRESETS[start.preset]()
    if start.config is not None:
        base = from_dict(read_config_file(start.config), source=str(start.config), base=base)
    default = TrainArguments(start=start, **{f.name: getattr(base, f.name) for f in fields(RunConfig)})
    parsed = _parse(TrainArguments, words, command="train", default=default)
    return RunConfig(**{f.name: getattr(parsed, f.name) for f in fields(RunConfig)})


def given_settings(words: Sequence[str]) -> set[str]:
    """Return the names of the settings whose flags are among the words."""
    return {word[2:].split("=")[0].replace("-", "_") for word in words if word.startswith("--")}


def _parse_start(words: Sequence[str]) -> StartOptions:
    """Read --preset and --config ahead of the rest, because they decide the other defaults."""
    without_help = [word for word in words if word not in ("-h", "--help")]
    start, _ = tyro.cli(
        tyro.conf.OmitArgPrefixes[StartOptions],
        args=without_help,
        prog="mambrane train",
        return_unknown_args=True,
        add_help=False,
    )
    return start


def _train(words: Sequence[str]) -> int:
    config = parse_train(words)
    base = PRESETS[_parse_start(words).preset]()
    warnings = settings_without_effect(config, base, given_settings(words))
    from mambrane.app.train import train

    return train(config, warnings)


def _evaluate(words: Sequence[str]) -> int:
    arguments = _parse(EvaluateArguments, words, command="evaluate")
    from mambrane.app.evaluate import evaluate

    return evaluate(arguments.run, data=arguments.data, weights=arguments.weights, device=arguments.device)


def _generate(words: Sequence[str]) -> int:
    arguments = _parse(GenerateArguments, words, command="generate")
    from mambrane.app.generate import generate

    return generate(**{f.name: getattr(arguments, f.name) for f in fields(GenerateArguments)})


def _report(words: Sequence[str]) -> int:
    arguments = _parse(ReportArguments, words, command="report")
    from mambrane.app.report import report

    return report(arguments.run, arguments.output)


def _info(words: Sequence[str]) -> int:
    arguments = _parse(InfoArguments, words, command="info")
    from mambrane.app.info import info

    return info(arguments.run)


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "train": _train,
    "evaluate": _evaluate,
    "generate": _generate,
    "report": _report,
    "info": _info,
}


def _parse(kind: type, words: Sequence[str], *, command: str, default: object | None = None):  # noqa: ANN202 -- `kind`
    options = {} if default is None else {"default": default}
    return tyro.cli(tyro.conf.OmitArgPrefixes[kind], args=list(words), prog=f"mambrane {command}", **options)
