"""The smallest model, loader and extensions that exercise the whole engine; the engine knows no spikes anyway."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mambrane.core.events import EventLog
from mambrane.core.seeding import make_generator
from mambrane.core.shapes import IGNORED_TARGET
from mambrane.data.batch import MicroBatch
from mambrane.engine.config import EngineConfig
from mambrane.engine.extensions import Extensions, StepChange
from mambrane.engine.objective import Objective, next_token_objective
from mambrane.engine.precision import Precision
from mambrane.engine.ranks import ONE_RANK, Ranks
from mambrane.engine.trainer import Trainer

CPU = torch.device("cpu")
VOCAB_SIZE = 11
INFINITE, NOT_A_NUMBER = 9, 10
"""A micro-batch that begins with one of these tokens has an infinite loss, or one that is not a number."""


class TinyOutput(NamedTuple):
    logits_BTV: Tensor
    activity: tuple[Tensor, ...]


class TinyModel(nn.Module):
    """Embedding, one hidden layer, scores. Computes in the type of its weights when `exact`, else as autocast says."""

    def __init__(self, *, seed: int = 0, dtype: torch.dtype = torch.float64, exact: bool = True, dropout: float = 0.0):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB_SIZE, 6)
        self.hidden = nn.Linear(6, 8)
        self.scores = nn.Linear(8, VOCAB_SIZE)
        self.dropout = nn.Dropout(dropout)
        self.exact = exact
        self.to(dtype)
        generator = make_generator(seed, "weights")
        with torch.no_grad():
            for weight in self.parameters():
                weight.copy_(torch.randn(weight.shape, generator=generator, dtype=torch.float64) * 0.5)

    def forward(self, inputs_BT: Tensor, *, resets_BT: Tensor | None = None) -> TinyOutput:
        with torch.autocast("cpu", enabled=not self.exact and torch.is_autocast_enabled("cpu"), dtype=autocast_dtype()):
            hidden = self.dropout(torch.tanh(self.hidden(self.embedding(inputs_BT))))
            return TinyOutput(self.scores(hidden), (hidden,))


def autocast_dtype() -> torch.dtype:
    return torch.get_autocast_dtype("cpu")


def poisoned_objective(model: nn.Module, batch: MicroBatch) -> Objective:
    """The usual loss, spoilt for a marked micro-batch."""
    loss_sum, output = next_token_objective(model, batch)
    factor = {INFINITE: float("inf"), NOT_A_NUMBER: float("nan")}.get(int(batch.inputs_BT[0, 0]), 1.0)
    return Objective(loss_sum * factor, output)


def make_batch(
    seed: int, *, rows: int = 2, tokens: int = 5, num_targets: int | None = None, first_token: int | None = None
) -> MicroBatch:
    """Random tokens below the markers; only the first `num_targets` targets count, all of them by default."""
    generator = make_generator(seed, "batch")
    inputs_BT = torch.randint(0, INFINITE, (rows, tokens), generator=generator)
    targets_BT = torch.randint(0, INFINITE, (rows, tokens), generator=generator)
    if num_targets is not None:
        targets_BT.view(-1)[num_targets:] = IGNORED_TARGET
    if first_token is not None:
        inputs_BT[0, 0] = first_token
    return MicroBatch(inputs_BT, targets_BT, inputs_BT == 0)


def make_batches(count: int, *, seed: int = 0, **shape: Any) -> list[MicroBatch]:
    return [make_batch(1000 * seed + number, **shape) for number in range(count)]


class ListLoader:
    """A loader of given micro-batches, the same in each epoch; has no length. `fails_at` raises once, at that one."""

    def __init__(self, batches: Sequence[MicroBatch], *, fails_at: int | None = None) -> None:
        self.batches = list(batches)
        self.fails_at = fails_at
        self.epoch, self.committed, self.handed_out = 0, 0, 0

    def epoch_batches(self) -> Iterator[MicroBatch]:
        epoch = self.epoch
        while self.epoch == epoch and self.handed_out < len(self.batches):
            if self.handed_out == self.fails_at:
                self.fails_at = None
                raise OSError("the disk went away")
            self.handed_out += 1
            yield self.batches[self.handed_out - 1]

    def commit(self) -> None:
        self.committed = self.handed_out
        if self.committed == len(self.batches):
            self.epoch += 1
            self.committed = self.handed_out = 0

    def rewind(self) -> None:
        self.handed_out = self.committed

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "committed": self.committed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch = state["epoch"]
        self.committed = self.handed_out = state["committed"]


class EventList:
    """An event log that remembers."""

    def __init__(self) -> None:
        self.log = EventLog()
        self.events: list[dict[str, Any]] = []
        self.log.listeners.append(self.events.append)

    def kinds(self) -> list[str]:
        return [event["event"] for event in self.events]


def make_trainer(
    model: nn.Module | None = None,
    *,
    precision: str = "fp32",
    initial_scale: float = 2.0**16,
    growth_interval: int = 2000,
    objective: Callable[..., Objective] = poisoned_objective,
    extensions: Extensions | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    events: EventList | None = None,
    optimizers: tuple[torch.optim.Optimizer, ...] | None = None,
    total_steps: int = 20,
    ranks: Ranks = ONE_RANK,
    **config: Any,
) -> Trainer:
    trainer = Trainer(
        TinyModel() if model is None else model,
        EngineConfig(**{"learning_rate": 0.01, "warmup_ratio": 0.1, "ema_decay": 0.9} | config),
        device=CPU,
        events=(EventList() if events is None else events).log,
        extensions=extensions,
        objective=objective,
        should_stop=should_stop,
        precision=Precision(precision, CPU, initial_scale=initial_scale, growth_interval=growth_interval),
        optimizers=optimizers,
        ranks=ranks,
    )
    trainer.begin_task(total_steps)
    return trainer


def differences(left: Any, right: Any, path: str = "state") -> list[str]:
    """Where two state trees differ in a single bit, as paths."""
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        same = left.dtype == right.dtype and left.shape == right.shape and same_bits(left, right)
        return [] if same else [path]
    if isinstance(left, dict) and isinstance(right, dict):
        if left.keys() != right.keys():
            return [f"{path}: keys"]
        return [found for key in left for found in differences(left[key], right[key], f"{path}.{key}")]
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        if len(left) != len(right):
            return [f"{path}: length"]
        pairs = enumerate(zip(left, right, strict=True))
        return [found for number, (a, b) in pairs for found in differences(a, b, f"{path}[{number}]")]
    return [] if type(left) is type(right) and left == right else [path]


def training_differences(left: dict[str, Any], right: dict[str, Any], *, besides: Sequence[str] = ()) -> list[str]:
    """Where two states of a trainer differ in a single bit; some top-level parts may be left out.

    Python's own generator is left out too: the type checker of the tests draws from it.
    """
    left, right = ({key: part for key, part in state.items() if key not in besides} for state in (left, right))
    return [path for path in differences(left, right) if not path.startswith("state.random.python")]


def same_bits(left: Tensor, right: Tensor) -> bool:
    return torch.equal(left.contiguous().view(-1).view(torch.uint8), right.contiguous().view(-1).view(torch.uint8))


class AddOne:
    """A generator-driven mixer: replaces the first token of each row by a drawn one."""

    def __init__(self, name: str = "mixer") -> None:
        self.name = name
        self.generator = make_generator(0, name)

    def mix(self, batch: MicroBatch) -> MicroBatch:
        inputs_BT = batch.inputs_BT.clone()
        inputs_BT[:, -1] = torch.randint(0, INFINITE, (len(inputs_BT),), generator=self.generator)
        return batch._replace(inputs_BT=inputs_BT)

    def undo_point(self) -> Callable[[], None]:
        return partial(self.generator.set_state, self.generator.get_state())

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["generator"])


class Drift:
    """An after-step extension with memory and noise of its own: nudges the hidden weights by what it has seen."""

    def __init__(self, rate: float = 1e-3) -> None:
        self.name = "drift"
        self.rate = rate
        self.trace = torch.zeros(8, dtype=torch.float64)
        self.generator = make_generator(0, "drift")
        self.views: list[Any] = []

    def after_step(self, view: Any) -> StepChange:
        self.views.append((view.num_targets, view.applied_step, len(view.micro_batches), len(view.activities)))
        for (hidden,) in view.activities:
            self.trace = 0.9 * self.trace + 0.1 * hidden.mean(dim=(0, 1))
        noise = torch.randn(8, generator=self.generator, dtype=torch.float64)
        nudged = view.model.hidden.weight + self.rate * (self.trace + noise)[:, None]
        return StepChange({"trace": float(self.trace.mean())}, {"hidden.weight": nudged})

    def state_dict(self) -> dict[str, Any]:
        return {"trace": self.trace, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.trace = state["trace"].clone()
        self.generator.set_state(state["generator"])
