"""The cases: what is asked, how each engine may be used, and who decides whether the answer is right.

A way is a name that the engine's adapter (with_*.py) explains; "" is what its documentation shows first. Every way is
judged alike. An engine is right in a case if its first way is, and right with another way if only that one is.
"""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from benchmarks.engine_peers.deaths import WRITERS
from benchmarks.engine_peers.engines import Engine, Reply
from benchmarks.engine_peers.jobs import KILLED, STOPPED, Job
from benchmarks.engine_peers.oracle import Weights, all_finite, largest_difference, oracle_weights

Verdict = Literal["right", "wrong", "refuses", "not offered"]
"""refuses: an exception before anything was trained. not offered: the engine has nothing of the kind here."""
EXACT, HALF = 1e-12, 1e-3
"""Largest difference from the oracle in float64, and when the forward pass is computed in fp16."""
OTHER_FILE_SYSTEM = "/dev/shm"
"""A file system that is not that of the temporary folder, on Linux."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one way of using an engine did in a case."""

    verdict: Verdict
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One row of the table."""

    name: str
    title: str
    asks: str
    judged: str
    ways: dict[str, tuple[str, ...]]
    """Ways of using each engine besides the first."""
    examine: Callable[[Engine, str], Finding]
    is_about_checkpoints: bool = False

    def ways_of(self, engine: str) -> tuple[str, ...]:
        """Return the ways in which an engine is tried, the documented one first."""
        return ("", *self.ways.get(engine, ()))


def weights_and_steps(job: Job) -> Callable[[Engine, str], Finding]:
    """Return a judge: right weights after the right number of optimizer steps, and no exception."""

    def examine(engine: Engine, way: str) -> Finding:
        notes = engine.run(replace(job, way=way)).notes
        if job.half and not notes["has_scaler"]:
            return _fp16_not_offered(notes["computed_in"])
        difference = largest_difference(notes["weights"], oracle_weights(job))
        is_right = (
            not notes["error"] and notes["steps"] == job.steps_per_epoch and difference <= (HALF if job.half else EXACT)
        )
        text = f"{_steps(notes['steps'])}, weights off by {difference:.1g}"
        return Finding("right" if is_right else "wrong", text + _raised(notes["error"]))

    return examine


def steps_only(job: Job) -> Callable[[Engine, str], Finding]:
    """Return a judge: the right number of optimizer steps, and no exception."""

    def examine(engine: Engine, way: str) -> Finding:
        notes = engine.run(replace(job, way=way)).notes
        text = _steps(notes["steps"]) + _raised(notes["error"])
        if notes["error"] and notes["steps"] == 0:
            return Finding("refuses", text)
        return Finding("right" if notes["steps"] == job.steps_per_epoch and not notes["error"] else "wrong", text)

    return examine


def step_not_taken(job: Job) -> Callable[[Engine, str], Finding]:
    """Return a judge: the second of four steps is not finite; the weights stay whole and the schedule waits.

    An engine that stops the run with an exception before anything is spoilt is right too.
    """

    def examine(engine: Engine, way: str) -> Finding:
        notes = engine.run(replace(job, way=way)).notes
        if job.half and not notes["has_scaler"]:
            return _fp16_not_offered(notes["computed_in"])
        is_whole = all_finite(notes["weights"])
        if notes["error"]:
            text = f"stops the run, weights {'whole' if is_whole else 'not finite'}" + _raised(notes["error"])
            return Finding("right" if is_whole else "wrong", text)
        waits = notes["rates"][2] == notes["rates"][1]
        text = f"{notes['steps']} of 4 steps taken, weights {'whole' if is_whole else 'not finite'}, "
        text += "schedule waits" if waits else "schedule advances"
        return Finding("right" if is_whole and waits and notes["steps"] == 3 else "wrong", text)

    return examine


LONG_RUN = Job(
    micro_batches=16,
    epochs=2,
    optimizer="adamw",
    learning_rate=0.01,
    falling_rate=True,
    exact=False,
    dropout=0.2,
    shuffle=True,
)
"""Eight steps in two epochs, with everything that a resumed run must find again."""


def resumed_anywhere(engine: Engine, way: str) -> Finding:
    """Stop after each step, run the same command again, and compare the weights with those of a straight run."""
    job = replace(LONG_RUN, way=way)
    exact, worst = _exact_resumes(engine, job)
    points = job.epochs * job.steps_per_epoch - 1
    text = f"{exact} of {points} bit for bit"
    if exact < points:
        without_dropout, _ = _exact_resumes(engine, replace(job, dropout=0.0))
        text += f" (off by up to {worst:.1g}; without dropout {without_dropout} of {points})"
    return Finding("right" if exact == points else "wrong", text)


def _exact_resumes(engine: Engine, job: Job) -> tuple[int, float]:
    """Return after how many steps a run could be stopped and resumed exactly, and the largest difference."""
    straight = engine.run(replace(job, folder=engine.fresh_folder())).notes["weights"]
    differences = [
        largest_difference(_stopped_and_resumed(engine, job, step), straight)
        for step in range(1, job.epochs * job.steps_per_epoch)
    ]
    return differences.count(0.0), max(differences)


def _stopped_and_resumed(engine: Engine, job: Job, step: int) -> Weights:
    job = replace(job, folder=engine.fresh_folder(), save_every=step)
    assert engine.run(replace(job, stop_after=step)).status == STOPPED, f"no stop after step {step}"
    reply = engine.run(job)
    assert not reply.notes["error"], reply.notes["error"]
    assert reply.notes["resumed_from"] == step, reply.notes["resumed_from"]
    return reply.notes["weights"]


FAILS = "it fails"
SAVED = (4, 6)
"""The checkpoint before the save that is interrupted, and that one."""


def killed_while_saving(engine: Engine, way: str, *, every: int = 1) -> Finding:
    """Die at each call of a save, run the same command again, and see what it made of what it found.

    Args:
        engine: the engine.
        way: how it is used; "other disk" is the first way with temporary files on another file system.
        every: try only every so many points.
    """
    job = replace(LONG_RUN, way="" if way == "other disk" else way, save_every=2)
    if way == "other disk":
        if not os.path.isdir(OTHER_FILE_SYSTEM):
            return Finding("not offered", "no second file system on this machine")
        job = replace(job, temporary_folder=OTHER_FILE_SYSTEM)
    wanted = {step: _stopped_and_resumed(engine, job, step) for step in SAVED}
    watched = replace(job, die_in=SAVED[1])
    calls = engine.run(replace(watched, folder=engine.fresh_folder())).notes["calls"]
    points = [(number, torn) for number, call in enumerate(calls) for torn in (False, True)[: 1 + (call in WRITERS)]]
    outcomes: Counter[str] = Counter()
    errors: set[str] = set()
    for number, torn in points[::every]:
        folder = engine.fresh_folder()
        status = engine.run(replace(watched, folder=folder, die_at=number, torn=torn)).status
        assert status == KILLED, f"the process survived {calls[number]}, call {number}: {status}"
        reply = engine.run(replace(job, folder=folder))
        outcomes[_restart(reply, wanted)] += 1
        errors |= {reply.notes["error"].partition(":")[0]} - {""}
    num_whole, num_points = outcomes.pop("whole", 0), len(points[::every])
    text = f"restarts from a whole checkpoint after {num_whole} of {num_points} deaths"
    raised = {FAILS: f" ({', '.join(sorted(errors))})"}
    text += "".join(
        f"; after {number} {outcome}{raised.get(outcome, '')}" for outcome, number in sorted(outcomes.items())
    )
    return Finding("right" if num_whole == num_points else "wrong", text)


def _restart(reply: Reply, wanted: dict[int, Weights]) -> str:
    """Return what became of the same command after a death."""
    if reply.notes["error"]:
        return FAILS
    step = reply.notes["resumed_from"]
    if step not in wanted:
        return f"it goes back to step {step}"
    return "whole" if reply.notes["weights"] == wanted[step] else "it goes on in silence from a part of a checkpoint"


def _fp16_not_offered(computed_in: str) -> Finding:
    return Finding("not offered", f"fp16 was asked for; computes in {computed_in} on a CPU, without a loss scale")


def _steps(number: int) -> str:
    return f"{number} step{'' if number == 1 else 's'}"


def _raised(error: str) -> str:
    return f"; raises {error.partition(': ')[0]}" if error else ""


COUNTED = {"transformers": ("model loss",), "accelerate": ("counted",), "fabric": ("as printed", "by hand")}
BY_HAND = {"fabric": ("by hand",)}

CASES = (
    Case(
        name="tail",
        title="Tail step: 7 micro-batches by 4",
        asks="The second step has three micro-batches. Is their mean taken over three?",
        judged="2 optimizer steps, and the weights of one plain float64 step on each step's rows (1e-12).",
        ways=COUNTED,
        examine=weights_and_steps(Job(micro_batches=7)),
    ),
    Case(
        name="tokens",
        title="Token weighting: 12, 1 and 4 targets in a micro-batch",
        asks="Does every counted target of a step weigh the same, in whatever micro-batch it is?",
        judged="As above, with the mean over all counted targets of a step.",
        ways=COUNTED,
        examine=weights_and_steps(Job(micro_batches=8, ragged=True)),
    ),
    Case(
        name="whole",
        title="No tail: 8 micro-batches by 4",
        asks="Nothing is left at the end of the epoch. Is there a third step, or an exception?",
        judged="2 optimizer steps and the oracle's weights; momentum and decay would show a step without gradients.",
        ways=BY_HAND,
        examine=weights_and_steps(Job(micro_batches=8)),
    ),
    Case(
        name="whole_fp16",
        title="No tail, fp16 with a loss scale",
        asks="The same with a GradScaler, which raises when it is stepped without gradients.",
        judged="2 optimizer steps, no exception, weights within 1e-3 of the oracle.",
        ways={},
        examine=weights_and_steps(Job(micro_batches=8, half=True, exact=False, learning_rate=0.01)),
    ),
    Case(
        name="short",
        title="Fewer micro-batches than a step: 3 by 4",
        asks="Is there one step, so that the data is not lost?",
        judged="1 optimizer step, no exception.",
        ways=BY_HAND,
        examine=steps_only(Job(micro_batches=3)),
    ),
    Case(
        name="empty",
        title="Empty loader",
        asks="A task or a rank without data: is the epoch simply over?",
        judged="0 optimizer steps, no exception. An exception is a fair answer to a mistake, but it ends a sequence of "
        "tasks; it is called *refuses*.",
        ways={},
        examine=steps_only(Job(micro_batches=0)),
    ),
    Case(
        name="not_finite",
        title="A gradient that is not finite, fp32 with clipping",
        asks="One micro-batch of the second step has an infinite loss. Are the weights still numbers afterwards, and "
        "does the learning rate wait for the step that was not taken?",
        judged="Finite weights, and the third step's learning rate is the second's. Stopping the run before "
        "anything is spoilt is right too.",
        ways={},
        examine=step_not_taken(Job(micro_batches=16, poisoned=5, clip=1.0, falling_rate=True, exact=False)),
    ),
    Case(
        name="overflow",
        title="Overflow, fp16 with a loss scale",
        asks="The same with a GradScaler, which skips the step: does the schedule know?",
        judged="As above; 3 of 4 steps are taken.",
        ways=BY_HAND,
        examine=step_not_taken(Job(micro_batches=16, poisoned=5, half=True, falling_rate=True, exact=False)),
    ),
    Case(
        name="resume",
        title="Resume, also in the middle of an epoch",
        asks="Two epochs of four steps, shuffled, with dropout, AdamW and a falling learning rate: stop after step "
        "1, 2, ... 7 and run the same command again. Does the run end as if it had never stopped?",
        judged="All weights equal those of the uninterrupted run, bit for bit.",
        ways={"accelerate": ("seedable", "stateful", "own generator"), "fabric": ("by hand",)},
        examine=resumed_anywhere,
        is_about_checkpoints=True,
    ),
    Case(
        name="kill",
        title="Kill during a save",
        asks="The process ends at a call that changes the disk, during the third save. Does the same command go on "
        "from a whole checkpoint by itself?",
        judged="After each point of death the second run ends with exactly the weights that a clean resume from the "
        "checkpoint of step 4 or 6 gives.",
        ways={"fabric": ("other disk",)},
        examine=killed_while_saving,
        is_about_checkpoints=True,
    ),
)
