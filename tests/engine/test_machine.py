"""The step and scaler machine against a model of it in plain Python, under any sequence of events.

The model knows nothing of torch: a step is a list of words, the scale and its growth tracker are two numbers.
"""

import copy
from dataclasses import dataclass, field, replace

import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mambrane.engine.extensions import Extensions
from mambrane.engine.refusals import DivergedError
from tests.engine.tiny_training import (
    INFINITE,
    NOT_A_NUMBER,
    AddOne,
    Drift,
    ListLoader,
    TinyModel,
    differences,
    make_batch,
    make_trainer,
    poisoned_objective,
    training_differences,
)

STEP_SIZE, GROWTH_INTERVAL, SKIP_LIMIT, TOTAL_STEPS = 3, 3, 4, 40
FIRST_SCALE, GOOD_TOKEN, TIGHT_TOKEN = 2.0**10, 1, 2
WORDS = {
    "good": {"first_token": GOOD_TOKEN},
    "inf": {"first_token": INFINITE},
    "nan": {"first_token": NOT_A_NUMBER},
    "ignored": {"first_token": GOOD_TOKEN, "num_targets": 0},
    "tight": {"first_token": TIGHT_TOKEN},
}
"""What a micro-batch may be; a tight one fits in memory only row by row."""


def objective(model, batch):
    if len(batch.inputs_BT) > 1 and int(batch.inputs_BT[0, 0]) == TIGHT_TOKEN:
        raise torch.OutOfMemoryError("CUDA out of memory")
    return poisoned_objective(model, batch)


@dataclass
class Expected:
    """The machine in plain Python."""

    has_scale: bool
    scale: float = FIRST_SCALE
    tracker: int = 0
    counts: dict = field(default_factory=lambda: dict.fromkeys(("COMMITTED", "SKIPPED", "EMPTY", "ABORTED"), 0))
    micro_batches: int = 0
    skips_in_a_row: int = 0

    def close(self, words, *, stopped):
        """Take in a step; returns how it ends."""
        if stopped:
            end = "ABORTED"
        elif "inf" in words or "nan" in words:
            end = "SKIPPED"
        elif set(words) <= {"ignored"}:
            end = "EMPTY"
        else:
            end = "COMMITTED"
        self.counts[end] += 1
        if end != "ABORTED":
            self.micro_batches += len(words)
        if end in ("SKIPPED", "COMMITTED"):
            self.skips_in_a_row = self.skips_in_a_row + 1 if end == "SKIPPED" else 0
            self.update_scale(overflowed=end == "SKIPPED")
        return end

    def update_scale(self, *, overflowed):
        if not self.has_scale:
            return
        if overflowed:
            self.scale, self.tracker = self.scale / 2, 0
        elif self.tracker + 1 == GROWTH_INTERVAL:
            self.scale, self.tracker = self.scale * 2, 0
        else:
            self.tracker += 1

    def run(self, words, polls_before_stop):
        """Take in a stream; returns the ends of its steps, how many words were consumed, and whether it diverged."""
        polls = Polls(polls_before_stop)
        ends, consumed = [], 0
        while not polls.asks():
            step = words[consumed : consumed + STEP_SIZE]
            if not step:
                break
            stopped = any(polls.asks() for _ in step)
            ends.append(self.close(step, stopped=stopped))
            if stopped:
                break
            consumed += len(step)
            if ends[-1] == "SKIPPED" and self.skips_in_a_row >= SKIP_LIMIT:
                return ends, consumed, True
        return ends, consumed, False


class Polls:
    """A signal that comes after so many looks at it; None: never."""

    def __init__(self, before_stop):
        self.left = before_stop

    def asks(self):
        if self.left is None:
            return False
        self.left -= 1
        return self.left < 0


class Machine(RuleBasedStateMachine):
    """Drives a trainer and the model side by side."""

    @initialize(precision=st.sampled_from(["fp16", "bf16", "fp32"]))
    def begin(self, precision):
        self.signal = Polls(None)
        self.trainer = self.new_trainer(precision)
        self.expected = Expected(has_scale=precision == "fp16")
        self.words, self.batches, self.saved, self.num_made = [], [], None, 0

    def new_trainer(self, precision):
        return make_trainer(
            TinyModel(dropout=0.2),
            precision=precision,
            objective=objective,
            extensions=Extensions(batch_mixers=(KeepMarks(),), after_steps=(Drift(),)),
            should_stop=lambda: self.signal.asks(),
            initial_scale=FIRST_SCALE,
            growth_interval=GROWTH_INTERVAL,
            accumulation_steps=STEP_SIZE,
            max_consecutive_skips=SKIP_LIMIT,
            total_steps=TOTAL_STEPS,
        )

    @rule(words=st.lists(st.sampled_from(sorted(WORDS)), min_size=1, max_size=5))
    def micro_batches_arrive(self, words):
        self.add(words)

    @rule(word=st.sampled_from(["inf", "nan", "ignored", "tight"]), count=st.integers(1, STEP_SIZE))
    def a_run_of_one_kind_arrives(self, word, count):
        self.add([word] * count)

    def add(self, words):
        for word in words:
            self.num_made += 1
            self.words.append(word)
            self.batches.append(make_batch(self.num_made, **WORDS[word]))

    @rule()
    def train(self):
        self.train_until(None)

    @rule(polls=st.integers(0, 12))
    def train_until_a_signal_comes(self, polls):
        self.train_until(polls)

    def train_until(self, polls):
        loader = ListLoader(self.batches)
        self.signal = Polls(polls)
        ends, diverged = [], False
        steps = self.trainer.steps(loader)
        before = self.frozen_state()
        try:
            for result in steps:
                ends.append(result.state.name)
                before = self.check_what_moved(result, before)
        except DivergedError:
            diverged = True
            ends.append("SKIPPED")
        self.signal = Polls(None)
        consumed = len(self.batches) if loader.epoch else loader.committed
        assert (ends, consumed, diverged) == self.expected.run(self.words, polls)
        self.words, self.batches = self.words[consumed:], self.batches[consumed:]

    def frozen_state(self):
        return copy.deepcopy(self.trainer.state_dict())

    def check_what_moved(self, result, before):
        after = self.frozen_state()
        moved = {path.split(".")[1].split(":")[0] for path in training_differences(before, after)}
        lasting = {"weights", "ema_updates", "optimizer", "extensions"}
        name = result.state.name
        if name == "COMMITTED":
            assert lasting <= moved
        elif name == "SKIPPED":
            # The mixer has drawn for data that is consumed; nothing else of the extensions has moved.
            assert not moved & (lasting - {"extensions"})
            assert differences(before["extensions"]["drift"], after["extensions"]["drift"]) == []
        elif name == "EMPTY":
            assert moved <= {"counters", "extensions", "random"}
        else:
            assert moved == {"counters"}
        return after

    @rule()
    def validate(self):
        before = self.frozen_state()
        with self.trainer.evaluation():
            self.trainer.model(make_batch(5).inputs_BT)
            torch.rand(3)
        assert training_differences(before, self.trainer.state_dict()) == []

    @rule()
    def save(self):
        kept = (self.frozen_state(), copy.deepcopy(self.expected), list(self.words), list(self.batches))
        self.saved = kept

    @precondition(lambda self: self.saved is not None)
    @rule(precision=st.sampled_from(["same", "fp16", "bf16", "fp32"]))
    def load(self, precision):
        state, expected, self.words, self.batches = copy.deepcopy(self.saved)
        kind = self.trainer.precision.kind if precision == "same" else precision
        self.trainer = self.new_trainer(kind)
        self.trainer.load_state_dict(state)
        self.expected = replace(expected, has_scale=kind == "fp16")
        assert training_differences(state, self.trainer.state_dict(), besides=["precision"]) == []

    @invariant()
    def everything_agrees(self):
        trainer, expected = self.trainer, self.expected
        counters, counts = trainer.counters, expected.counts
        assert counters.closed == sum(counts.values())
        assert counters.attempted == counts["COMMITTED"] + counts["SKIPPED"]
        assert (counters.applied, counters.skipped, counters.empty, counters.aborted) == tuple(counts.values())
        assert counters.micro_steps == expected.micro_batches
        assert counters.skips_in_a_row == expected.skips_in_a_row
        assert trainer.ema.num_updates == counts["COMMITTED"]
        if expected.has_scale:
            scaler = trainer.precision.state_dict()["scaler"]
            assert (scaler["scale"], scaler["_growth_tracker"]) == (expected.scale, expected.tracker)
        else:
            assert trainer.precision.scale == 1.0
        assert all(weight.grad is None for weight in trainer.model.parameters())
        assert trainer.training_step.is_closed
        steps = {int(entry["step"]) for entry in trainer.state_dict()["optimizer"].values()}
        assert steps <= {counts["COMMITTED"]}


class KeepMarks(AddOne):
    """Draws like the mixer, and leaves the first token, which marks the kind of a micro-batch, alone."""


Machine.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestMachine = Machine.TestCase
