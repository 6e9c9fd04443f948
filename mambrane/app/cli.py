"""The command line: words in, one command out. Everything slow is imported after the words have been understood."""

import io
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro

from mambrane import __version__
from mambrane.app.help import command_help, train_help
from mambrane.app.openmp import limit_openmp_spin
from mambrane.app.streams import flush_or_give_up, give_up, open_closed_streams, tell
from mambrane.app.words import check_run, check_words, given_settings, hints_of, long_forms
from mambrane.continual.config import ContinualConfig
from mambrane.core.bounds import Bounds, Seed, check_settings
from mambrane.core.errors import INTERRUPTED_EXIT_CODE, MambraneError, UserError
from mambrane.data.config import DataConfig
from mambrane.engine.config import EngineConfig
from mambrane.models.config import ModelConfig
from mambrane.plasticity.config import PlasticityConfig
from mambrane.run.config import RunConfig, RunOptions, Weights, from_dict, read_config_file
from mambrane.run.effects import settings_without_effect
from mambrane.run.named_settings import fitted_to
from mambrane.run.presets import COSTS, PRESETS
from mambrane.run.switches import without_lost_ground

USAGE = """\
Mambrane {version}: hybrid spiking, liquid and Mamba language models, trained task after task without forgetting.

  mambrane train    --preset tiny             train (minutes on two cores); run it again to resume
  mambrane evaluate RUN                       bits per byte of every domain
  mambrane generate RUN --prompt "..."        write text
  mambrane report   RUN                       one HTML page about the run
  mambrane info     RUN                       what the model is made of and what it has learned
  mambrane study    STUDY                     a grid of settings, seeds and orders, and its table
  mambrane info                               versions, processor, caches: what a bug report needs

RUN is the folder of a run. `mambrane COMMAND --help` explains each command.
"""
TRAIN_INTRODUCTION = """\
mambrane train [settings]: train a model on a sequence of text domains.
Run the same command again after any interruption: it resumes.

  mambrane train --preset tiny                 the built-in text, as five tasks
  mambrane train --preset tiny --data texts/   your own: each file is a task
  mambrane train --preset tiny --dry-run       only say what would happen

A preset is a whole recipe: Mamba, gating, cross-attention, continual learning,
replay, STDP and meta-plasticity are on; --no-use-replay and its like switch one
off. What the presets take on the built-in text, on two cores:

{presets}
"""
HELP_WORDS = ("-h", "--help")
USER_ERROR_EXIT_CODE = 2
LOST_OUTPUT_EXIT_CODE = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class StartOptions:
    """What is read ahead of the settings: where their defaults come from, and how a plan is printed."""

    preset: Literal["tiny", "small", "base"] = "base"
    """Recipe to start from; the settings given beside it change single things."""
    config: Path | None = None
    """File with settings by section, such as the config.json of another run; it stands between preset and flags."""
    json: bool = False
    """With --dry-run: print configuration and plan as one JSON object and nothing else."""


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


T = TypeVar("T")
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
    """Show what a run's model is made of, what it costs and what it has learned; without a run, this machine."""

    run: Annotated[Path | None, tyro.conf.Positional] = None
    """Folder of the run; left out: versions, processor, operations and cache folders, as a bug report needs them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyArguments:
    """Run a study: arms, seeds and orders of tasks as runs side by side, and one table. Run it again to go on."""

    study: Annotated[str, tyro.conf.Positional] = ""
    """File of a study (TOML), or the name of a ready one."""
    output_dir: str = ""
    """Folder of the study; left out: studies/NAME."""
    jobs: Annotated[int, Bounds(0, 4096, meaning_of_0="as many as there are cores")] = 0
    """Runs side by side; 0: as many as there are cores."""
    dry_run: bool = False
    """Say what is left to do and about how long it takes, and run nothing."""
    list: bool = False
    """Show the ready studies, and about how long each takes."""

    def __post_init__(self) -> None:
        check_settings(self)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code of the program."""
    open_closed_streams()
    limit_openmp_spin()
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
        UserError: a word, a file or a combination of settings that does not fit.
    """
    base = base_of(words)
    default = TrainArguments(start=_parse_start(words), **{f.name: getattr(base, f.name) for f in fields(RunConfig)})
    parsed = _parse(TrainArguments, long_forms(words), command="train", default=default)
    return RunConfig(**{f.name: getattr(parsed, f.name) for f in fields(RunConfig)})


def base_of(words: Sequence[str]) -> RunConfig:
    """Return what the flags start from: the preset, changed by the --config file, fitted to what was chosen."""
    words = long_forms(words)
    check_words(words, hints_of(TrainArguments), command="train")
    start, given = _parse_start(words), given_settings(words)
    sections = {} if start.config is None else read_config_file(start.config)
    chosen = {name: value for values in sections.values() for name, value in values.items()}
    base = without_lost_ground(PRESETS[start.preset](), chosen)
    base = from_dict(sections, source=str(start.config), base=base)
    ground = _parse_known(Ground, words, default=Ground(**{f.name: _setting(base, f.name) for f in fields(Ground)}))
    chosen |= {name: getattr(ground, name, None) for name in given}
    return fitted_to(base, chosen, given)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """The settings that decide about others, read ahead of them."""

    data: tuple[str, ...]
    hidden_dim: int
    block_pattern: str
    use_mamba: bool
    integration_mode: str
    liquid_backbone: str
    continual_learning: bool
    num_tasks: int


def _setting(config: RunConfig, name: str) -> Any:  # noqa: ANN401 -- any setting's value
    sections = (getattr(config, f.name) for f in fields(config))
    (value,) = (getattr(section, name) for section in sections if name in {f.name for f in fields(section)})
    return value


def _parse_start(words: Sequence[str]) -> StartOptions:
    """Read --preset and --config ahead of the rest, because they decide the other defaults."""
    return _parse_known(StartOptions, words, default=StartOptions())


def _parse_known(kind: type[T], words: Sequence[str], *, default: T) -> T:
    """Read some settings and pass over all others."""
    parsed, _ = tyro.cli(
        kind,
        config=(tyro.conf.OmitArgPrefixes,),
        args=list(words),
        default=default,
        prog="mambrane train",
        return_unknown_args=True,
        add_help=False,
    )
    return parsed


def _train(words: Sequence[str]) -> int:
    if _asks_for_help(words):
        return _print(_train_help(words))
    config, base, start = parse_train(words), base_of(words), _parse_start(words)
    if start.json and not config.run.dry_run:
        raise UserError("--json without --dry-run", wanted="a plan to print", way_out="add --dry-run")
    warnings = settings_without_effect(config, base, given_settings(words))
    from mambrane.app.train import train

    return train(config, warnings, plan_as_json=start.json)


def _train_help(words: Sequence[str]) -> str:
    """Return the help of `mambrane train`; with --preset among the words, with the defaults of that preset."""
    known = [word for word in words if word not in HELP_WORDS]
    start = _parse_start(known)
    config = PRESETS[start.preset]()
    defaults = TrainArguments(start=start, **{f.name: getattr(config, f.name) for f in fields(RunConfig)})
    costs = "\n".join(f"  {name:7}{cost}" for name, cost in COSTS.items())
    return train_help(defaults, TRAIN_INTRODUCTION.format(presets=costs))


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
    if arguments.run is None:
        from mambrane.app.machine import print_machine

        return print_machine()
    from mambrane.app.info import info

    return info(arguments.run)


def _study(words: Sequence[str]) -> int:
    arguments = _parse(StudyArguments, words, command="study")
    from mambrane.app.study import list_studies, study

    if arguments.list:
        return list_studies()
    if not arguments.study:
        raise UserError(
            "mambrane study without a study",
            wanted="a file, or a name",
            way_out="mambrane study --list shows the names",
        )
    return study(arguments.study, output_dir=arguments.output_dir, jobs=arguments.jobs, dry_run=arguments.dry_run)


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "train": _train,
    "evaluate": _evaluate,
    "generate": _generate,
    "report": _report,
    "info": _info,
    "study": _study,
}


def _parse(kind: type[T], words: Sequence[str], *, command: str, default: T | None = None) -> T:
    """Return what the words of a command say; its help is printed, and the program left, where they ask for it."""
    if default is None:
        if _asks_for_help(words):
            raise SystemExit(_print(command_help(command, kind)))
        check_words(words, hints_of(kind), command=command, num_positional=1)
        if kind not in (InfoArguments, StudyArguments):
            check_run(words, hints_of(kind), command=command)
    options: dict[str, Any] = {} if default is None else {"default": default}
    told = io.StringIO()
    try:
        with redirect_stderr(told):
            return tyro.cli(
                kind,
                args=list(words),
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


def _asks_for_help(words: Sequence[str]) -> bool:
    return any(word in HELP_WORDS for word in words)


def _print(text: str) -> int:
    sys.stdout.write(text)
    return 0
