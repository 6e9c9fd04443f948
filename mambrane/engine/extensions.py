"""The seams of the engine: what plasticity and continual learning may add to a step, and nothing else.

    mix a micro-batch -> add loss terms -> add penalties -> gate the update -> act after the step -> task ends

Each seam returns its result to the engine, which puts it into effect; none is given the engine, and none changes the
model by itself. Two extensions that would change the same weight after a step are refused, so their order decides
nothing. Every extension is named and Stateful, or it is refused: a run that cannot be resumed exactly must not start.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from mambrane.core.errors import UserError
from mambrane.core.stateful import Stateful
from mambrane.data.batch import MicroBatch
from mambrane.engine.ranks import ONE_RANK, Ranks


class StepView(NamedTuple):
    """What an after-step extension sees of an applied step."""

    model: Any
    """The nn.Module that learns, to be read: changes are returned."""
    micro_batches: list[MicroBatch]
    """The micro-batches that were back-propagated, as they were run (mixed, and split when memory was short); of
    several processes each sees its own rows, and may see none."""
    activities: list[Any]
    """The detached `activity` of the model's output for each of them."""
    read_by_batch: list[int]
    """Tokens that were read in each of them, all but padding, as the host has counted them: asking a batch on a GPU
    would wait for the GPU."""
    num_targets: int
    """Counted targets of the step, over all ranks."""
    applied_step: int
    """Applied steps of the run, this one included."""
    learning_rate: float
    task_progress: float = 1.0
    """Part of the task's steps that is applied, this one included."""
    ranks: Ranks = ONE_RANK
    """The processes that train together: what is added up from `micro_batches` is to be summed by `ranks.sum_`."""


class StepChange(NamedTuple):
    """What an after-step extension returns."""

    numbers: Mapping[str, float | Tensor]
    """Shown by name; scalars of a device are left there, and the engine fetches all of them at once."""
    weights: dict[str, Tensor] = {}
    """New values of parameters, by parameter name; the engine writes them."""


class BoundaryView(NamedTuple):
    """What a boundary extension sees at the end of a task."""

    model: Any
    """The nn.Module that has learned the task."""
    loader: Any
    """The task's text, the same on every rank."""
    task_index: int
    device: torch.device
    ranks: Ranks = ONE_RANK
    """The processes that train together."""


class TakeUpView(NamedTuple):
    """What an extension sees that a run takes up behind tasks that were learned without it."""

    model: Any
    """The nn.Module as the last task left it, to be read."""
    num_learned: int
    """Tasks learned before."""
    end_of_text: int
    """The token that starts each document."""
    device: torch.device
    tell: Callable[[str], None] = lambda message: None
    """Puts a warning into the log of the run."""


@runtime_checkable
class Extension(Stateful, Protocol):
    """What all extensions are: named, and with a state that survives a restart."""

    name: str


@runtime_checkable
class BatchMixer(Extension, Protocol):
    """Changes what a micro-batch holds (replay). May draw from its own generator; aborted steps are rolled back."""

    def mix(self, batch: MicroBatch) -> MicroBatch:
        """Return the micro-batch to train on."""
        ...

    def undo_point(self) -> Callable[[], None]:
        """Return what brings the state back, bit for bit, to how it is now; asked for whenever a step opens.

        It is called before the next step opens, or never.
        """
        ...


@runtime_checkable
class LossTerm(Extension, Protocol):
    """Adds to the loss of each micro-batch. Changes no state of its own here: a micro-batch may be run again."""

    def term(self, model: nn.Module, output: Any, batch: MicroBatch) -> Tensor | None:  # noqa: ANN401
        """Return a sum over the micro-batch's targets, in nats; the step divides it like the main loss.

        It is called in the autocast context of the forward pass.
        """
        ...


@runtime_checkable
class Penalty(Extension, Protocol):
    """Adds to the loss of a step, once (elastic weight consolidation)."""

    def penalty(self, model: nn.Module) -> Tensor | None:
        """Return a scalar of the size of a mean loss, in nats per token."""
        ...


@runtime_checkable
class UpdateGate(Extension, Protocol):
    """Changes how far the optimizer's update moves the weights (meta-plasticity)."""

    def observe(self, gradients: dict[str, Tensor]) -> None:
        """Note the gradient of the loss, before penalties and clipping; called in each step that is applied."""
        ...

    def gate(self, before: dict[str, Tensor], after: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights to go on with, by name; at zero strength not a bit differs from `after`.

        Args:
            before: weights before the optimizer's update.
            after: weights after it. They are given away: what is returned may be made in their memory.
        """
        ...


@runtime_checkable
class AfterStep(Extension, Protocol):
    """Acts after the optimizer's update in an applied step (STDP, homeostasis, probes)."""

    def after_step(self, view: StepView) -> StepChange:
        """Return numbers to be shown, and weights to be changed."""
        ...


@runtime_checkable
class Revocable(Extension, Protocol):
    """A gate or an after-step extension that can take back what it did in a step.

    On a GPU the host reads once a step where all of a run's gates and after-step extensions are Revocable: they are
    called before it is known whether the gradient was finite. With another among them it reads twice.
    """

    def revocation_point(self) -> Callable[[], None]:
        """Return what brings back, bit for bit, all that `observe`, `gate` and `after_step` change from here on.

        It is asked for in each step, before they act; what it returns is called before the step closes, or never.
        """
        ...


@runtime_checkable
class Boundary(Extension, Protocol):
    """Acts when a task ends (Fisher information, memory)."""

    def boundary(self, view: BoundaryView) -> None:
        """Look back at the task that ends."""
        ...


@runtime_checkable
class LateComer(Extension, Protocol):
    """Prepares itself where a run takes it up behind learned tasks, for the first time or again: teacher, anchor."""

    def take_up(self, view: TakeUpView) -> None:
        """Look at the model that has learned without this extension; its own earlier state, if any, is loaded."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Extensions:
    """The extensions of a run by seam, each in the order in which they act; one object may stand in several."""

    batch_mixers: tuple[BatchMixer, ...] = ()
    loss_terms: tuple[LossTerm, ...] = ()
    penalties: tuple[Penalty, ...] = ()
    update_gates: tuple[UpdateGate, ...] = ()
    after_steps: tuple[AfterStep, ...] = ()
    boundaries: tuple[Boundary, ...] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            for extension in getattr(self, field.name):
                _refuse_misfit(extension, _SEAMS[field.name][0])
        owners: dict[str, object] = {}
        for extension in self._all():
            if owners.setdefault(extension.name, extension) is not extension:
                raise ExtensionRefusedError(
                    f"two extensions named {extension.name!r}: their states could not be told apart",
                    wanted="one name for each extension",
                    way_out="rename one of them",
                )

    @classmethod
    def of(cls, *extensions: object) -> "Extensions":
        """Return extensions in every seam whose methods they have, in the order given.

        Raises:
            ExtensionRefusedError: one fills no seam, or could not be saved.
        """
        marks = {name: mark for name, (_, mark) in _SEAMS.items()}
        for extension in extensions:
            if not any(hasattr(extension, mark) for mark in marks.values()):
                raise ExtensionRefusedError(
                    f"{type(extension).__name__} fills no seam: it has none of {', '.join(marks.values())}",
                    wanted="an extension that does something",
                    way_out="docs/extending.md says what each seam asks for",
                )
        seams: dict[str, Any] = {
            name: tuple(each for each in extensions if hasattr(each, mark)) for name, mark in marks.items()
        }
        return cls(**seams)

    def by_name(self) -> dict[str, Extension]:
        """Return every extension once, by name."""
        return {extension.name: extension for extension in self._all()}

    def state_dict(self) -> dict[str, Any]:
        """Return the state of every extension by name."""
        return {name: extension.state_dict() for name, extension in self.by_name().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take every extension's state back.

        Raises:
            ValueError: the saved run had other extensions.
        """
        own = self.by_name()
        if own.keys() != state.keys():
            raise ValueError(f"saved with the extensions {sorted(state)}, this run has {sorted(own)}")
        for name, extension in own.items():
            extension.load_state_dict(state[name])

    def take_up(self, state: dict[str, Any], parked: dict[str, Any], view: TakeUpView) -> dict[str, Any]:
        """Take the states of a session back whose extensions may be others; returns those that nobody here has.

        Args:
            state: of the extensions of the last session, by name.
            parked: of extensions of sessions before it.
            view: for those that the last session did not have.
        """
        own, known = self.by_name(), {**parked, **state}
        for name, extension in own.items():
            if name in known:
                extension.load_state_dict(known[name])
            if name not in state and isinstance(extension, LateComer):
                extension.take_up(view)
        return {name: saved for name, saved in known.items() if name not in own}

    def _all(self) -> Iterator[Extension]:
        for field in fields(self):
            yield from getattr(self, field.name)


class ExtensionRefusedError(UserError, TypeError):
    """An object that does not fill the seam it was given to, or that could not be saved."""


_SEAMS: dict[str, tuple[type, str]] = {
    "batch_mixers": (BatchMixer, "mix"),
    "loss_terms": (LossTerm, "term"),
    "penalties": (Penalty, "penalty"),
    "update_gates": (UpdateGate, "gate"),
    "after_steps": (AfterStep, "after_step"),
    "boundaries": (Boundary, "boundary"),
}
"""Each seam, and the method by which an object shows that it means to fill it; whether it does is checked then."""


def _refuse_misfit(extension: object, seam: type) -> None:
    if not isinstance(extension, Extension):
        raise ExtensionRefusedError(
            f"{type(extension).__name__} has no name, state_dict and load_state_dict: a resumed run would lose it",
            wanted="an extension that is named and Stateful",
            way_out="give it a name and the two methods; {} is a state too",
        )
    if not isinstance(extension, seam):
        raise ExtensionRefusedError(
            f"{type(extension).__name__} does not do what a {seam.__name__} does",
            wanted=f"an object with the methods of engine.extensions.{seam.__name__}",
            way_out="pass it to the seam it was written for",
        )
