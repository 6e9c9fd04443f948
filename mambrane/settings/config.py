"""A whole run as one value: the configuration of every room, flat on the command line. Free of torch."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from mambrane.continual.config import KEEPING_CURRICULA, ContinualConfig
from mambrane.core.bounds import Bounds, Count, Seed, check_settings
from mambrane.core.errors import UserError
from mambrane.core.renamed import earlier_setting
from mambrane.data.config import INITIAL_TOKENIZER, DataConfig, check_tokenizer_of_task
from mambrane.engine.config import EngineConfig
from mambrane.models.config import ModelConfig
from mambrane.plasticity.config import PlasticityConfig
from mambrane.settings.setting_values import checked_value
from mambrane.tasks import check_task_kind

Weights = Literal["auto", "model", "ema"]
"""Weights that a command takes from a checkpoint; auto: those that the run is measured with."""

ExportKind = Literal["folder", "hub", "transformers", "nir"]
"""What a model can leave a run as."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """The run: what, how long, where."""

    task: str = "llm"
    """What is trained: llm, a language model; vision, labels of images that are read as sequences."""
    epochs: Count = 30
    """Epochs in all, divided among the tasks; --epoch-tokens says how long one is."""
    max_steps: Annotated[int, Bounds(0, 2**62, meaning_of_0="no end")] = 0
    """Stop after this many applied steps of the whole run and save; 0 runs to the end."""
    seed: Seed = 0
    """Seed of every random stream."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N. A run may go on on another one, then not bit for bit."""
    deterministic: bool = False
    """Add up in the same order each time on a GPU, so that a resumed run is the same bit for bit; a CPU always does."""
    extension: tuple[str, ...] = ()
    """Extensions from other packages, package.module:Class, each followed by its settings as name=value."""
    init_from: str = ""
    """Weights to start from, with their sizes and tokenizer: a run, a folder that left one, or hf:OWNER/MODEL."""
    logger: tuple[str, ...] = ("tensorboard",)
    """Where the numbers go beside events.jsonl: tensorboard, csv, wandb, mlflow, or none; several may be named."""
    output_dir: str = ""
    """Folder of the run; left out: runs/NAME, where NAME follows from the configuration."""
    require_same_environment: bool = False
    """Refuse to resume where torch, Numba, the processor or the number of threads is not as when the run was saved."""
    rank_timeout_s: Annotated[float, Bounds(1, 86_400)] = 600.0
    """Seconds for which the processes of one run (torchrun) wait for each other before they give up."""
    dry_run: bool = False
    """Print the plan (tasks, tokens, parameters, memory, time) and train nothing."""

    def __post_init__(self) -> None:
        check_settings(self)
        check_task_kind(self.task)
        _check_loggers(self.logger)
        _check_folder_name(self.output_dir)


LOGGER_NAMES = ("tensorboard", "csv", "wandb", "mlflow", "none")


def _check_loggers(names: tuple[str, ...]) -> None:
    """Raise UserError for a logger that does not exist, and for `none` beside others."""
    unknown = [name for name in names if name not in LOGGER_NAMES]
    if unknown or ("none" in names and len(set(names)) > 1):
        raise UserError(
            f"--logger {' '.join(names)}",
            wanted="some of " + ", ".join(LOGGER_NAMES[:-1]) + "; or none alone",
            way_out="--logger tensorboard",
        )


def _check_folder_name(name: str) -> None:
    """Raise UserError for a name that no folder can have."""
    try:
        is_possible = b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        is_possible = False
    if not is_possible:
        raise UserError(
            f"--output-dir {name}: no folder can be called that",
            wanted="a name without NUL and half characters",
            way_out="--output-dir runs/NAME",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """Everything that a run is made from."""

    run: RunOptions = field(default_factory=RunOptions)
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    plasticity: PlasticityConfig = field(default_factory=PlasticityConfig)
    continual: ContinualConfig = field(default_factory=ContinualConfig)

    def __post_init__(self) -> None:
        for section in dataclasses.fields(self):
            wanted = section.default_factory
            if not isinstance(getattr(self, section.name), wanted):  # type: ignore[arg-type]  # the sections' classes
                raise UserError(
                    f"RunConfig({section.name}={str(getattr(self, section.name))[:40]!r})",
                    wanted=f"a {getattr(wanted, '__name__', wanted)}",
                    way_out="mambrane.presets.tiny(), and dataclasses.replace for single settings",
                )
        if self.data.tokenizer == INITIAL_TOKENIZER and not self.run.init_from:
            raise UserError(
                f"--tokenizer {INITIAL_TOKENIZER} without --init-from",
                wanted="a model to take the tokenizer from",
                way_out="--tokenizer bytes, or --init-from MODEL",
            )
        check_tokenizer_of_task(self.run.task, self.data.tokenizer)
        tasks = self.num_domains or 1
        if self.run.epochs < tasks:
            raise UserError(
                f"--epochs {self.run.epochs} for {tasks} tasks",
                wanted="at least one epoch for each task",
                way_out=f"--epochs {tasks}, fewer --num-tasks, --no-continual-learning, or fewer files: each file or "
                "sub-folder of --data is a task",
            )
        if self.engine.shard and self.continual.use_replay and self.continual.replay_source != "memory":
            raise UserError(
                f"--shard with --replay-source {self.continual.replay_source}: a model in pieces does not write",
                wanted="replay of text that was read",
                way_out="--replay-source memory, or leave --shard out",
            )
        if self.run.task == "vision" and self.continual.use_replay and self.continual.replay_source != "memory":
            raise UserError(
                f"--task vision with --replay-source {self.continual.replay_source}: it writes no images",
                wanted="replay of images that were read",
                way_out="--replay-source memory",
            )
        if self.plasticity.use_stdp and self.model.liquid_backbone != "lif":
            raise UserError(
                f"--use-stdp with --liquid-backbone {self.model.liquid_backbone}: that population does not spike",
                wanted="two spiking populations",
                way_out="--liquid-backbone lif, or leave --use-stdp out",
            )

        self._check_augmentation()

    def _check_augmentation(self) -> None:
        """Raise UserError for methods that must know a remembered image again, where images change."""
        continual, plasticity = self.continual, self.plasticity
        knowing = {
            "--dark-replay-strength": continual.use_replay and continual.dark_replay_strength > 0,
            "--replay-label-strength": continual.use_replay and continual.replay_label_strength != 1,
            "--replay-strategy importance": continual.use_replay and continual.replay_strategy == "importance",
            "--meta-row-rate": plasticity.use_meta_plasticity and plasticity.meta_row_rate > 0,
        }
        found = [words for words, is_on in knowing.items() if is_on]
        if found and self.run.task == "vision" and self.data.augments_images:
            raise UserError(
                f"{' and '.join(found)} with images that change each time they are learned",
                wanted="remembered images that are known again",
                way_out="leave --image-shift-pixels, --image-rotation-degrees and --image-stretch out, or "
                + " and ".join(found),
            )

    @property
    def has_earlier_tasks(self) -> bool:
        """Whether there are two tasks or more, so that there is something to forget."""
        continual = self.continual
        return continual.continual_learning and continual.num_tasks > 1 and continual.curriculum in KEEPING_CURRICULA

    @property
    def num_domains(self) -> int | None:
        """The first so many domains are learned, one after another; None: all at once."""
        return self.continual.num_tasks if self.continual.continual_learning else None

    @property
    def name(self) -> str:
        """Name of the run: equal configurations have equal names, also in a version that knows more settings."""
        return f"{self.run.task}-{fingerprint(self)[:10]}"

    @property
    def folder(self) -> Path:
        """Folder of the run; without --output-dir, and with text of one's own, see `folder_for`."""
        return Path(self.run.output_dir or f"runs/{self.name}")

    def folder_for(self, content_hashes: Sequence[str]) -> Path:
        """Return the folder of the run on this text: text of one's own is known by its content, wherever it lies.

        Args:
            content_hashes: of each domain, in order, then of the weights that it starts from, if there are such.
        """
        if self.run.output_dir or not (self.data.has_own_text or self.run.init_from):
            return self.folder
        text = hashlib.sha256(json.dumps(list(content_hashes)).encode()).hexdigest()
        return self.folder.with_name(f"{self.folder.name}-{text[:6]}")


SECTION_OF = {
    setting.name: section for section, kind in get_type_hints(RunConfig).items() for setting in dataclasses.fields(kind)
}
"""The section that each setting stands in; no two have one name."""

OPERATIONAL = (
    "data.data",
    "data.keep_heldout_bytes",
    "run.max_steps",
    "run.init_from",
    "run.logger",
    "run.output_dir",
    "run.dry_run",
    "run.device",
    "run.deterministic",
    "run.require_same_environment",
    "run.rank_timeout_s",
    "engine.save_every",
    "engine.keep_checkpoints",
    "engine.checkpoint_activations",
    "engine.compile",
    "engine.shard",
)
"""Settings that do not change what is learned: a run may be resumed with other values of these. Where the text lies is
one of them, as a run knows its text by its content. Device, determinism and compiling may change the last bits, which
is said (training/environment.py)."""


BEFORE_THEY_EXISTED: dict[str, Any] = {}
"""For each setting whose default changed what is learned when it was added, by dotted name: the value that keeps the
behaviour of runs saved without it. All other settings that a saved run does not mention have their default."""


def defaults_for_old_runs() -> RunConfig:
    """Return the value of each setting in a run that was saved before the setting existed."""
    sections: dict[str, dict[str, Any]] = {}
    for dotted, value in BEFORE_THEY_EXISTED.items():
        section, name = dotted.split(".")
        sections.setdefault(section, {})[name] = value
    return from_dict(sections, source="BEFORE_THEY_EXISTED")


def to_dict(config: RunConfig) -> dict[str, dict[str, Any]]:
    """Return the configuration as JSON, section by section."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def flat(config: RunConfig) -> dict[str, Any]:
    """Return the value of every setting, as JSON, by dotted name."""
    return {f"{section}.{name}": value for section, values in to_dict(config).items() for name, value in values.items()}


def fingerprint(config: RunConfig) -> str:
    """Return a hexadecimal hash of the settings that decide what is learned and are not `defaults_for_old_runs`."""
    defaults = flat(defaults_for_old_runs())
    chosen = {
        earlier_setting(name): value
        for name, value in flat(config).items()
        if name not in OPERATIONAL and value != defaults[name]
    }
    if not config.data.has_own_text and config.data.data != ("builtin",):
        chosen["data.data"] = list(config.data.data)
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()


def from_dict(sections: dict[str, Any], *, source: str, base: RunConfig | None = None) -> RunConfig:
    """Return the configuration that `to_dict` described; settings left out keep the value of `base`.

    Raises:
        UserError: a section or setting that does not exist, or a value that the setting does not take.
    """
    base = base or RunConfig()
    types = get_type_hints(RunConfig)
    changed = {}
    for section, values in sections.items():
        if section not in types:
            wanted = ", ".join(types)
            raise UserError(f"{source}: unknown section {section!r}", wanted=wanted, way_out="correct the file")
        if not isinstance(values, dict):
            raise UserError(
                f"{source}: {section} is {str(values)[:40]!r}",
                wanted="settings by name",
                way_out="correct the file, or restore it from a copy",
            )
        hints = get_type_hints(types[section])
        for name in values:
            if name not in hints:
                raise UserError(
                    f"{source}: unknown setting {section}.{name}",
                    wanted=", ".join(sorted(hints)),
                    way_out="correct the file, or train with the version of Mambrane that wrote it",
                )
        checked = {
            name: checked_value(value, hints[name], where=f"{source}: {section}.{name}")
            for name, value in values.items()
        }
        changed[section] = dataclasses.replace(getattr(base, section), **checked)
    return dataclasses.replace(base, **changed)
