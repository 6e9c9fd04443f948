"""The arguments of each command."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, get_args

import tyro

from mambrane.continual.config import ContinualConfig
from mambrane.core.bounds import Bounds, Seed, check_settings
from mambrane.data.config import DataConfig
from mambrane.engine.config import EngineConfig
from mambrane.models.config import ModelConfig
from mambrane.plasticity.config import PlasticityConfig
from mambrane.settings.config import ExportKind, RunOptions, Weights


@dataclass(frozen=True, kw_only=True, slots=True)
class StartOptions:
    """What is read ahead of the settings: where their defaults come from, and how a plan is printed."""

    preset: Literal["tiny", "small", "base", "large", "xl"] = "base"
    """Recipe to start from; the settings given beside it change single things."""
    config: Path | None = None
    """File with settings by section, such as the config.json of another run; it stands between preset and flags."""
    json: bool = False
    """With --dry-run: print configuration and plan as one JSON object and nothing else."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LearnArguments:
    """Teach a run more text, behind all that it has learned."""

    run: RunOptions = field(default_factory=RunOptions)
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    plasticity: PlasticityConfig = field(default_factory=PlasticityConfig)
    continual: ContinualConfig = field(default_factory=ContinualConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainArguments(LearnArguments):
    """Train a model on a sequence of text domains. Run the same command again after any interruption: it resumes."""

    start: StartOptions = field(default_factory=StartOptions)


TableFormat = Literal["terminal", "csv", "latex", "json", "markdown"]
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
    prompt_file: str = ""
    """File that holds the prompt; - reads standard input."""
    num_samples: Annotated[int, Bounds(1, 1_000_000)] = 1
    """Continuations to write; the prompt is read once."""
    max_tokens: Annotated[int, Bounds(1, 2**62)] = 256
    """Tokens to write at most."""
    temperature: float = 0.8
    """Above 1 is more random, below 1 less, 0 always takes the most likely token."""
    top_k: int = 0
    """Draw from the k most likely tokens only; 0 draws from all."""
    top_p: float = 1.0
    """Draw from the most likely tokens that together have this probability."""
    seed: Seed = 0
    """Seed of the draw; equal seeds write equal text."""
    stop: tuple[str, ...] = ()
    """Texts before which the continuation ends, whichever comes first."""
    state: Path | None = None
    """File that keeps the text: written at the end; where it is there already, the text goes on from it at no cost."""
    json: bool = False
    """Print one JSON object with the text of each sample, its tokens, and why it ended."""
    weights: Weights = "auto"
    """auto: those the run measures itself with, the average (with --ema-decay), else the trained ones; or name one."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreArguments:
    """Print bits per byte of each line of a text as it comes, at constant memory: surprise as a signal."""

    run: Run
    """Folder of the run."""
    file: Annotated[str, tyro.conf.Positional] = "-"
    """File of text; left out, or -: standard input."""
    json: bool = False
    """Print a JSON object a line."""
    weights: Weights = "auto"
    """auto: those the run measures itself with, the average (with --ema-decay), else the trained ones; or name one."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CompareArguments:
    """Show runs side by side: settings that differ, metrics, forgetting matrices."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of the runs, two or more."""
    format: TableFormat = "terminal"
    """terminal, csv, latex, json or markdown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportArguments:
    """Write one self-contained HTML page with pictures about a run."""

    run: Run
    """Folder of the run."""
    output: Path | None = None
    """File to write; left out: report.html in the run's folder."""


Port = Annotated[int, Bounds(0, 65_535, meaning_of_0="any that is free")]


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchArguments:
    """Show the report page in a browser of this machine, following the run while it trains. Ctrl-C ends it."""

    run: Run
    """Folder of the run; it may train, or have ended."""
    port: Port = 8642
    """Port on 127.0.0.1; 0 takes any that is free."""

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeArguments:
    """Serve a run's model as OpenAI's API does: /v1/models, /v1/completions, /v1/chat/completions. Ctrl-C ends it."""

    run: Run
    """Folder of the run; the folder's name is the name of the model."""
    host: str = "127.0.0.1"
    """Address to listen at; any but this machine's own needs a token in the variable MAMBRANE_TOKEN."""
    port: Port = 8000
    """Port; 0 takes any that is free."""
    max_tokens: Annotated[int, Bounds(1, 1_000_000)] = 1024
    """Tokens that are written for one request at most."""
    max_prompt_bytes: Annotated[int, Bounds(1, 1 << 30)] = 65_536
    """Bytes of a request at most, the prompt included."""
    max_seconds: Annotated[float, Bounds(0, 86_400, "least")] = 60.0
    """Time that is spent on writing for one request at most; then it ends with finish_reason length."""
    max_parallel: Annotated[int, Bounds(1, 1024)] = 2
    """Requests that are written at once."""
    max_waiting: Annotated[int, Bounds(0, 65_536)] = 16
    """Requests that wait for their turn; more are refused (429)."""
    kept_states: Annotated[int, Bounds(0, 65_536)] = 32
    """States kept of texts that were read: a prompt that begins alike is read from there. 0: each is read whole."""
    weights: Weights = "auto"
    """auto: those the run measures itself with, the average (with --ema-decay), else the trained ones; or name one."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportArguments:
    """Write a run's model so that it can leave: a folder, the hub, transformers' format, or NIR of its neurons."""

    run: Run
    """Folder of the run."""
    to: ExportKind = "folder"
    """folder, hub, transformers or nir."""
    output_dir: Path | None = None
    """Folder to write; left out: export/TO in the run's folder, or, with --to hub, one that is removed."""
    hub_name: str = ""
    """With --to hub: OWNER/MODEL, where it is published."""
    private: bool = False
    """With --to hub: nobody else may see it."""
    weights: Weights = "auto"
    """auto: those the run measures itself with, the average (with --ema-decay), else the trained ones; or name one."""


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
    """Runs side by side; 0: as many as there are cores. Each has OMP_NUM_THREADS threads, or its part of the cores."""
    dry_run: bool = False
    """Say what is left to do and about how long it takes, and run nothing."""
    list: bool = False
    """Show the ready studies, and about how long each takes."""

    def __post_init__(self) -> None:
        check_settings(self)


Shell = Literal["bash", "zsh", "fish"]
SHELLS = get_args(Shell)


@dataclass(frozen=True, kw_only=True, slots=True)
class CompletionArguments:
    """Print what a shell needs to complete commands, flags and choices."""

    shell: Annotated[Shell, tyro.conf.Positional]
    """bash, zsh or fish."""


ARGUMENTS: dict[str, type] = {
    "train": TrainArguments,
    "learn": LearnArguments,
    "evaluate": EvaluateArguments,
    "generate": GenerateArguments,
    "score": ScoreArguments,
    "compare": CompareArguments,
    "report": ReportArguments,
    "watch": WatchArguments,
    "serve": ServeArguments,
    "export": ExportArguments,
    "info": InfoArguments,
    "study": StudyArguments,
    "completion": CompletionArguments,
}
"""The commands, and what each is given; the function of a command has its name and stands in the file of its name."""
