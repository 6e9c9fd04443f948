"""How a task behind those of a run is learned where nobody says otherwise: by a recipe of its own.

The settings of a run are made for tasks that share its epochs. A later text meets a model that is finished: smaller
steps and more replayed text keep what it knows, more passes make up for both, and meta-plasticity, which keeps the old
by learning less of the new, goes off. Measured in docs/experiments/later-tasks.md, "a sixth text behind the five".

The recipe rests on replay. Where nothing can be replayed, a task has the settings that the run began with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from mambrane.core.events import EventLog
from mambrane.settings.config import RunConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class LaterTask:
    """What is another in a later task than in those that a run began with."""

    epochs_factor: int = 3
    """Epochs for each that a task of the beginning had."""
    learning_rate_factor: float = 0.75
    """Peak of the learning rate, as a part of that of the beginning."""
    replay_fraction: float = 0.4
    """Part of the sequences that is replayed, where the run began with less."""

    def words(self) -> str:
        """Return it in words."""
        return (
            f"{self.epochs_factor} times the epochs, {self.learning_rate_factor:g} times the learning rate, "
            f"{self.replay_fraction:.0%} replayed, no meta-plasticity"
        )


LATER_TASK = LaterTask()


class Recipe(NamedTuple):
    """How a later task is learned where nobody says otherwise."""

    num_epochs: int
    """Of each text."""
    settings: dict[str, Any]
    """What is another than in the beginning of the run, by dotted name."""
    epochs_before: int
    """What a task of the beginning had."""
    lacks_memory: bool
    """Whether replay is off only because the run has nothing to replay."""

    def sentence(self) -> str:
        """Return the recipe in words."""
        if self.lacks_memory:
            return (
                "nothing of the older texts is replayed, as the run began without replay; --use-replay "
                "--replay-source both replays text that the model writes itself, and what it remembers from then on"
            )
        words = [f"{self.num_epochs} epochs a text, where a task of the beginning had {self.epochs_before}"]
        words += [IN_WORDS[name].format(value) for name, value in self.settings.items()]
        return f"where no flag says otherwise, a later task has {', '.join(words)}"

    def tell(self, events: EventLog) -> None:
        """Emit "warning" where nothing keeps the older texts, else "later_task"; both with a `message`."""
        if self.lacks_memory:
            events.emit("warning", message=self.sentence())
        else:
            events.emit("later_task", message=self.sentence())


IN_WORDS = {
    "engine.learning_rate": "learning rate {:g}",
    "continual.replay_fraction": "{:.0%} of its sequences replayed",
    "plasticity.use_meta_plasticity": "no meta-plasticity",
}


def recipe_of(began: RunConfig, asked: Mapping[str, Any]) -> Recipe:
    """Return how later tasks of a run are learned, but for what was asked for.

    Args:
        began: what the run began with.
        asked: settings that were given for them, by dotted name; each stays as it is.
    """
    usual, continual = usual_epochs(began), began.continual
    wants_replay = asked.get("continual.use_replay", continual.use_replay)
    is_written = asked.get("continual.replay_source", continual.replay_source) != "memory"
    if not (wants_replay and (continual.use_replay or is_written)):
        # A teacher is there at once; importance is measured while a task is learned.
        distills = asked.get("continual.distillation_strength", continual.distillation_strength) > 0
        regularizes = asked.get("continual.regularizer_strength", continual.regularizer_strength) > 0
        keeps_otherwise = distills or (regularizes and continual.regularizer_strength > 0)
        was_chosen = not asked.get("continual.use_replay", True) or keeps_otherwise
        return Recipe(usual, {}, usual, lacks_memory=not was_chosen)
    before = {
        "engine.learning_rate": began.engine.learning_rate,
        "continual.replay_fraction": continual.replay_fraction,
        "plasticity.use_meta_plasticity": began.plasticity.use_meta_plasticity,
    }
    after = {
        "engine.learning_rate": LATER_TASK.learning_rate_factor * began.engine.learning_rate,
        "continual.replay_fraction": max(LATER_TASK.replay_fraction, continual.replay_fraction),
        "plasticity.use_meta_plasticity": False,
    }
    settings = {name: value for name, value in after.items() if name not in asked and value != before[name]}
    return Recipe(LATER_TASK.epochs_factor * usual, settings, usual, lacks_memory=False)


def usual_epochs(began: RunConfig) -> int:
    """Return the epochs of a task as a run began."""
    continual = began.continual
    return began.run.epochs // continual.num_tasks if continual.continual_learning else began.run.epochs
