"""A run as a person uses it: opened from its folder, then asked for its model, its matrix, its events, its text."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.continual.matrix_file import load_matrix
from mambrane.continual.measure import Measurement
from mambrane.continual.outcome import Outcome
from mambrane.continual.task_file import TaskRecords, read_tasks
from mambrane.core.errors import UserError
from mambrane.core.events import Event, EventLog, read_events
from mambrane.data.cache_folder import cache_folder
from mambrane.data.domain_records import read_domain_records
from mambrane.data.domains import Domain, load_domains
from mambrane.data.tokenizer import Tokenizer
from mambrane.measure.sampling import Sampling
from mambrane.measure.scoring import LineScore
from mambrane.measure.writing import Writing
from mambrane.models.language_model import LanguageModel
from mambrane.report.data import Sample, read_report_data
from mambrane.report.report import write_report
from mambrane.run.arithmetic import evaluating
from mambrane.run.build import build_task_kind
from mambrane.run.export import Exported, export_run
from mambrane.run.kernels import compile_token_program
from mambrane.run.own_text import own_domains
from mambrane.run.report_parts import model_parts, probed_parts
from mambrane.run.samples import write_samples
from mambrane.run.saved import SavedRun, edited_numbers, open_run, require_finite_weights
from mambrane.run.text import Written, as_bytes, begin_writing, score_text, writing_with_state, written
from mambrane.settings.config import ExportKind, RunConfig, Weights
from mambrane.storage.run_folder import RunFolder


class Run:
    """A run that was trained before. What is asked for is read then, so a run can be looked at piece by piece.

    Example:
        >>> run = Run.open("runs/first")  # doctest: +SKIP
        >>> run.matrix.metrics()["forgetting"].value  # doctest: +SKIP
        >>> print(run.generate("def "))  # doctest: +SKIP
    """

    def __init__(
        self,
        folder: RunFolder,
        *,
        weights: Weights = "auto",
        device: torch.device | None = None,
        events: EventLog | None = None,
        outcome: Outcome | None = None,
    ) -> None:
        self._files = folder
        self._weights: Weights = weights
        self._device = device or torch.device("cpu")
        self._log = events or EventLog()
        self._told: set[str] = set()
        self.outcome = outcome
        """How the training ended that returned this run; None for a run that was only opened."""

    @classmethod
    def open(
        cls,
        folder: Path | str,
        *,
        weights: Weights = "auto",
        device: torch.device | None = None,
        events: EventLog | None = None,
        outcome: Outcome | None = None,
    ) -> "Run":
        """Return the run in a folder.

        Args:
            folder: the folder of the run.
            weights: the trained ones ("model"), their average ("ema"), or ("auto") those that the run measured itself
                with: the average where there is one.
            device: where the model goes; the CPU where not given.
            events: receives warnings about damaged files and changed text; nobody where not given.
            outcome: for `train`.

        Raises:
            UserError: the folder is not that of a run.
        """
        files = RunFolder(Path(folder))
        files.require_run()
        return cls(files, weights=weights, device=device, events=events, outcome=outcome)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        return self._files.path

    @property
    def config(self) -> RunConfig:
        """Every setting of the run."""
        return self.saved.config

    @property
    def model(self) -> LanguageModel:
        """The model with the weights of the newest valid checkpoint."""
        return self.saved.model

    @property
    def usable_model(self) -> LanguageModel:
        """The model, if it can be used: raises UserError where a weight is not finite."""
        require_finite_weights(self.model, self.folder)
        return self.model

    @property
    def tokenizer(self) -> Tokenizer:
        """What turns text into tokens."""
        return self.saved.tokenizer

    @property
    def step(self) -> int:
        """Optimizer steps behind the weights."""
        return self.saved.step

    @cached_property
    def saved(self) -> SavedRun:
        """Configuration, tokenizer and model, read from the newest valid checkpoint at the first use."""
        opened = open_run(self.folder, weights=self._weights, device=self._device, events=self._log)
        self._warn(read_domain_records(self._files.domains_file).damage)
        return opened

    @property
    def matrix(self) -> ForgettingMatrix | None:
        """The measure of every domain after every task; None before the first evaluation, or with a warning."""
        try:
            if self._files.matrix_file.exists():
                matrix = load_matrix(self._files.matrix_file)
                self._warn(edited_numbers(self._files, matrix))
                return matrix
            # The first row is measured before the first step.
            if any(path.name != "step-00000000" for path in self._files.checkpoints_folder.glob("step-*")):
                self._warn(f"{self._files.matrix_file} is missing")
            return None
        except UserError as error:
            self._warn(error.found)
            return None

    @property
    def tasks(self) -> TaskRecords:
        """What was learned task by task, and what was learned and taken back; empty, with a warning, where damaged."""
        try:
            return read_tasks(self._files.tasks_file)
        except UserError as error:
            self._warn(error.found)
            return TaskRecords([], [])

    def events(self) -> Iterator[Event]:
        """Yield everything that happened in the run, oldest first."""
        if not self._files.events_file.exists():
            self._warn(f"{self._files.events_file} is missing")
            return
        try:
            yield from read_events(self._files.events_file, tell_damage=self._warn)
        except UserError as error:
            self._warn(error.found)

    def _warn(self, sentence: str | None) -> None:
        """Say, once, what is wrong with a file of the run, if anything is."""
        if sentence is not None and sentence not in self._told:
            self._told.add(sentence)
            self._log.emit("warning", message=sentence)

    @cached_property
    def domains(self) -> list[Domain]:
        """The run's own text, of the domains that it measures, in the order of the matrix; read at the first use."""
        return own_domains(self.saved)

    def evaluate(self, data: Sequence[str] = ()) -> dict[str, Measurement]:
        """Return what is measured on every domain by name: `.value` in the unit of `matrix.measure`, and `.details`.

        Of text that is a `HeldoutLoss`, with `.bits_per_byte` and `.perplexity`.

        Args:
            data: other text than the run's own: files, folders, hf:NAME.
        """
        if data:
            other = replace(self.config.data, data=tuple(data))
            _, domains = load_domains(other, cache_folder(), self._log, tokenizer=self.tokenizer)
        else:
            domains = self.domains
        kind, model = build_task_kind(self.config, self._device), self.usable_model
        with evaluating(self.config, self._device):
            return {domain.name: kind.evaluate(model, domain) for domain in domains}

    def generate(self, prompt: str | bytes = "", **options: Any) -> str:  # noqa: ANN401 -- as there
        """Return what the model writes after the prompt; the options are those of `stream`."""
        return "".join(self.stream(prompt, **options))

    def stream(
        self,
        prompt: str | bytes = "",
        *,
        max_tokens: int = 256,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 0,
        stop: Sequence[str] = (),
        state: Path | str | None = None,
    ) -> Iterator[str]:
        """Yield what the model writes after the prompt, piece by piece as it comes.

        Args:
            prompt: text to go on from; empty starts a new document.
            max_tokens: tokens to write at most.
            temperature: above 1 is wilder, below 1 tamer, 0 always takes the most likely token.
            top_k: draw from the k most likely tokens only; 0 draws from all.
            top_p: draw from the most likely tokens that together have this probability.
            seed: seed of the draw; equal seeds write equal text.
            stop: texts before which it ends.
            state: file that keeps the text: written at the end, and gone on from where it is there already.
        """
        sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
        options: dict[str, Any] = {"max_tokens": max_tokens, "seed": seed, "stop": stop}
        if state is not None:
            options |= {"state": Path(state), "events": self._log}
            model = self.prepare_writing()
            with writing_with_state(model, self.tokenizer, as_bytes(prompt), sampling, **options) as writing:
                yield from writing
            return
        for writing in self.begin(prompt, sampling, num_samples=1, **options):
            yield from writing

    def write(self, prompt: str | bytes = "", num_samples: int = 1, **options: Any) -> list[Written]:  # noqa: ANN401
        """Return several continuations of a prompt, which is read once; options as of `stream`. A state keeps one."""
        settings = {"max_tokens": 256, "temperature": 0.8, "top_k": 0, "top_p": 1.0, "seed": 0, "stop": (), **options}
        sampling = Sampling(**{name: settings.pop(name) for name in ("temperature", "top_k", "top_p")})
        settings |= {"num_samples": num_samples, "events": self._log}
        return written(self.prepare_writing(), self.tokenizer, as_bytes(prompt), sampling, **settings)

    def begin(self, prompt: str | bytes, sampling: Sampling, **settings: Any) -> Iterator[Writing]:  # noqa: ANN401
        """Yield continuations that are written as they are iterated over; settings as of `begin_writing`."""
        return begin_writing(self.prepare_writing(), self.tokenizer, as_bytes(prompt), sampling, **settings)

    def score(self, lines: Iterable[bytes | str]) -> Iterator[LineScore]:
        """Yield how surprising each line is, as it comes: `.bits_per_byte`, at constant memory, for ever.

        All lines, which come with their ends, as those of an open file do, are one document.
        """
        return score_text(self.prepare_writing(), self.tokenizer, lines)

    def prepare_writing(self) -> LanguageModel:
        """Return the model, with what writes text compiled."""
        compile_token_program(self._log)
        return self.usable_model

    def samples(self) -> tuple[Sample, ...]:
        """Return, for every domain, a beginning that was never trained on and how the model goes on."""
        if not build_task_kind(self.config, self._device).is_text:
            return ()
        return write_samples(self.usable_model, self.tokenizer, self.domains, weights=self.saved.weights)

    def export(
        self,
        to: ExportKind = "folder",
        output_dir: Path | str | None = None,
        *,
        hub_name: str = "",
        private: bool = False,
    ) -> Exported:
        """Write the model so that it can leave, and return where it is and what the format could not say.

        Args:
            to: "folder", which `LanguageModel.from_pretrained` opens; "hub", which publishes such a folder;
                "transformers", for models of plain Mamba blocks; "nir", the spiking populations for snnTorch, Norse and
                others.
            output_dir: folder to write; where not given, export/TO in the run's folder, for "hub" one that is removed.
            hub_name: OWNER/MODEL, with "hub".
            private: whether nobody else may see it there; with "hub".

        Raises:
            UserError: the format cannot say this model, an option has no meaning for it, or a package is not installed.
        """
        require_finite_weights(self.model, self.folder)
        folder = None if output_dir is None else Path(output_dir)
        return export_run(self.saved, self.matrix, to, output_dir=folder, hub_name=hub_name, private=private)

    def report(self, output: Path | None = None) -> Path:
        """Write one self-contained HTML page about the run and return where it is: report.html in its folder."""
        parts = model_parts(self.saved) | probed_parts(self.usable_model, self.tokenizer, self.domains[0])
        parts |= {"samples": self.samples(), "weights": self.saved.weights}
        data = replace(read_report_data(self.folder, tell_damage=self._warn), **parts)
        path = output or self._files.report_file
        write_report(data, path)
        return path
