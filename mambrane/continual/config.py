"""Tasks one after another, and what keeps the earlier ones.

Free of torch, so that the command line can read it at once.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from mambrane.core.bounds import Bounds, Count, Decay, Positive, Ratio, Strength, check_settings
from mambrane.core.errors import UserError
from mambrane.core.needs import Needs

_CONTINUAL = Needs("--continual-learning", lambda run: run.continual.continual_learning)
_ONE_MODEL = Needs("another --curriculum than single-task", lambda run: run.continual.curriculum != "single-task")
_EARLIER_TASKS = Needs("--continual-learning with --num-tasks 2 or more", lambda run: run.has_earlier_tasks)
_REPLAY = Needs("--use-replay", lambda run: run.continual.use_replay)
_NO_SHARE = Needs("--replay-share 0", lambda run: run.continual.replay_share == 0)
_STORED = Needs("--replay-source memory or both", lambda run: run.continual.replay_source != "generated")
_DARK = Needs("--dark-replay-strength above 0", lambda run: run.continual.dark_replay_strength > 0)
_REGULARIZER = Needs("--regularizer-strength above 0", lambda run: run.continual.regularizer_strength > 0)
_ESTIMATE = Needs("--regularizer ewc, mas or isi-cv", lambda run: run.continual.regularizer != "si")
_REPTILE = Needs("--reptile-strength above 0", lambda run: run.continual.reptile_strength > 0)
_DISTILLATION = Needs("--distillation-strength above 0", lambda run: run.continual.distillation_strength > 0)


MOST_LATE_FRACTION = 0.5
"""Largest replay fraction for --replay-timing late, which doubles it at the end of a task."""
KEEPING_CURRICULA = ("sequential", "cumulative")
"""The curricula in which one model learns one task after another."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ContinualConfig:
    """Continual learning: the stream of tasks, replay, regularizer, distillation."""

    continual_learning: bool = False
    """Learn the domains one after another as tasks; off: all domains mixed, as one task."""
    num_tasks: Annotated[int, Bounds(1, 10_000), _CONTINUAL] = 5
    """Tasks (with --continual-learning): the first domains of --data, in order."""
    curriculum: Annotated[Literal["sequential", "joint", "cumulative", "single-task"], _CONTINUAL] = "sequential"
    """What is learned when, at equal tokens: sequential, one domain after another; joint, all at once; cumulative, all
    so far; single-task, each domain by a model of its own. The last three are bounds for what keeps earlier tasks."""
    use_replay: Annotated[bool, _EARLIER_TASKS] = False
    """Mix sequences of earlier tasks from a replay buffer into each micro-batch."""
    replay_buffer_size: Annotated[int, Bounds(1, 100_000_000), _REPLAY, _NO_SHARE] = 512
    """Sequences kept in the replay buffer, over all tasks."""
    replay_share: Annotated[float, Bounds(0, 1, meaning_of_0="--replay-buffer-size says how many"), _REPLAY] = 0.0
    """Size of the replay buffer as a part of all distinct tokens that the tasks are trained on, in place of a number
    of sequences."""
    replay_source: Annotated[Literal["memory", "generated", "both"], _REPLAY] = "memory"
    """Replay text that was stored as it was learned (memory); text that the model itself writes when a task begins, as
    the last task left it, so that none is stored (generated); or half of each (both)."""
    replay_strategy: Annotated[Literal["balanced", "uniform", "importance"], _REPLAY] = "balanced"
    """Draw with equal chance of every earlier task, of every sequence, or by the loss a sequence last had."""
    replay_fraction: Annotated[Decay, _REPLAY] = 0.5
    """Part of the sequences that is replayed once there are earlier tasks, in place of as much new text."""
    replay_timing: Annotated[Literal["steps", "late", "updates"], _REPLAY] = "steps"
    """Replay as steps pass (steps); as much in all, from none at the beginning of a task to twice the fraction at its
    end, when the learning rate has fallen (late); or as the weights move, more after large updates (updates)."""
    replay_label_strength: Annotated[Strength, _REPLAY] = 1.0
    """Weight of replayed text in the loss, beside new text at 1 (beta of DER++)."""
    dark_replay_strength: Annotated[Strength, _REPLAY, _STORED] = 0.0
    """Weight of the divergence from what was predicted when a replayed sequence was first read (alpha of DER++); 0 is
    off."""
    dark_replay_top_k: Annotated[Count, _DARK] = 8
    """Likeliest next tokens of each position that are kept for it, 6 bytes each."""
    regularizer_strength: Annotated[Strength, _EARLIER_TASKS] = 0.0
    """Strength (lambda) of the quadratic penalty on moving weights away from the last task's; 0 is off."""
    regularizer: Annotated[Literal["ewc", "mas", "si", "isi-cv"], _REGULARIZER] = "ewc"
    """Importance of a weight: Fisher information (ewc), sensitivity of the output (mas), path of the loss (si), or of
    plastic synapses, without a gradient, how regularly their neurons fire (isi-cv)."""
    regularizer_decay: Annotated[Ratio, _REGULARIZER] = 0.9
    """Part of the earlier tasks' importance kept at each task."""
    fisher_sequences: Annotated[Count, _REGULARIZER, _ESTIMATE] = 64
    """Training sequences from which ewc, mas and isi-cv estimate the importance of each weight."""
    reptile_strength: Annotated[float, Bounds(0, 1, meaning_of_0="off")] = 0.0
    """Part of the way since the last time that every weight goes back, every --reptile-interval steps; 0 is off."""
    reptile_interval: Annotated[Count, _REPTILE] = 50
    """Applied steps from one retraction to the next."""
    distillation_strength: Annotated[Strength, _EARLIER_TASKS] = 0.0
    """Weight of the divergence from the model as the last task left it, beside the loss; 0 is off."""
    distillation_temperature: Annotated[Positive, _DISTILLATION] = 2.0
    """Logits are divided by it before the two models are compared; above 1, unlikely tokens count more."""
    distillation_confidence_power: Annotated[Strength, _DISTILLATION] = 0.0
    """Power of the teacher's probability of the right token by which its opinion counts there: above 0 it is heard
    where it knows the text; 0 hears it everywhere alike."""
    max_forgetting: Annotated[float | None, Bounds(0, 1e9), _EARLIER_TASKS] = None
    """Take a task back, bit for bit, when it cost the domains before it more than this on average, in bits per byte."""
    min_gain: Annotated[float | None, Bounds(0, 1e9), _CONTINUAL, _ONE_MODEL] = None
    """Take a task back, bit for bit, when it gained less than this on its own held-out text, in bits per byte."""

    def __post_init__(self) -> None:
        check_settings(self)
        if self.use_replay and self.replay_timing == "late" and self.replay_fraction > MOST_LATE_FRACTION:
            raise UserError(
                f"--replay-timing late with --replay-fraction {self.replay_fraction:g}: at the end of a task twice as "
                "many rows are due, and a micro-batch has no more than all",
                wanted=f"a fraction of {MOST_LATE_FRACTION:g} or less",
                way_out=f"--replay-fraction {MOST_LATE_FRACTION:g}, or --replay-timing steps",
            )
        for name, is_on in (
            ("use-replay", self.use_replay),
            ("regularizer-strength", self.regularizer_strength),
            ("distillation-strength", self.distillation_strength),
        ):
            if is_on and not self.continual_learning:
                raise UserError(
                    f"--{name} without --continual-learning: there are no earlier tasks",
                    wanted="a sequence of tasks",
                    way_out=f"add --continual-learning, or leave --{name} out",
                )
            if is_on and self.curriculum not in KEEPING_CURRICULA:
                raise UserError(
                    f"--{name} with --curriculum {self.curriculum}: there are no earlier tasks",
                    wanted="tasks that one model learns one after another",
                    way_out=f"--curriculum sequential, or leave --{name} out",
                )
