"""Claims about the state machine over tasks: its order, and that a run may be left and resumed anywhere."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mambrane.continual.config import ContinualConfig
from mambrane.continual.matrix_file import load_matrix
from mambrane.continual.outcome import Outcome
from mambrane.continual.regularizer import Regularizer
from mambrane.continual.replay import Replay
from mambrane.continual.row_evaluation import RowEvaluation
from mambrane.continual.run_storage import RunStorage
from mambrane.continual.runner import Runner
from mambrane.continual.stream import Task, build_stream
from mambrane.core.errors import UserError
from mambrane.core.events import Event, EventLog
from mambrane.data.domains import Domain
from mambrane.data.loader import SequenceLoader
from mambrane.engine.config import EngineConfig
from mambrane.engine.extensions import Extensions
from mambrane.engine.trainer import Trainer
from mambrane.measure.metrics import HeldoutLoss, heldout_loss
from mambrane.models.language_model import LanguageModel
from mambrane.plasticity.config import PlasticityConfig
from mambrane.plasticity.meta_plasticity import MetaPlasticity
from mambrane.plasticity.stdp import Stdp
from mambrane.storage.state_files import EncodedState, decode_state, encode_state

CPU = torch.device("cpu")
LENGTH, SEED = 20, 3
CONTINUAL = ContinualConfig(
    continual_learning=True,
    num_tasks=3,
    use_replay=True,
    replay_buffer_size=12,
    replay_strategy="importance",
    regularizer_strength=0.1,
    regularizer="si",
    fisher_sequences=3,
)
PLASTICITY = PlasticityConfig(use_stdp=True, use_meta_plasticity=True)
ENGINE = EngineConfig(accumulation_steps=2, learning_rate=1e-2, ema_decay=0.9, save_every=3)


class Session:
    """One process of a run: everything is built anew, and the last saved state is all that survives it."""

    def __init__(
        self,
        domains: list[Domain],
        build_model: Callable[..., LanguageModel],
        *,
        saved: EncodedState | None = None,
        polls_until_stop: int | None = None,
        engine: EngineConfig = ENGINE,
        continual: ContinualConfig = CONTINUAL,
        matrix_path: Path | None = None,
        max_steps: int = 0,
        epochs: int = 4,
        reference: tuple[Domain, ...] = (),
    ) -> None:
        self.polls_left = polls_until_stop
        self.saves: list[EncodedState] = []
        self.events: list[Event] = []
        log = EventLog()
        log.listeners.append(self.events.append)
        self.model = build_model(SEED, use_mamba=True, num_gate_heads=2)
        replay = Replay(continual, sequence_length=LENGTH, seed=SEED)
        regularizer = Regularizer(continual, self.model, seed=SEED)
        meta = MetaPlasticity(PLASTICITY, self.model)
        self.trainer = Trainer(
            self.model,
            engine,
            device=CPU,
            events=log,
            should_stop=self.should_stop,
            extensions=Extensions(
                batch_mixers=(replay,),
                loss_terms=(replay,),
                penalties=(regularizer,),
                update_gates=(meta,),
                after_steps=(Stdp(PLASTICITY, self.model), replay, meta),
                boundaries=(replay, regularizer, meta),
            ),
        )
        self.runner = Runner(
            build_stream(domains, continual, epochs),
            self.trainer,
            RowEvaluation(self.trainer, evaluate, reference=reference),
            make_loader=make_loader,
            storage=RunStorage(save=lambda: self.saves.append(self.whole_state()), matrix_path=matrix_path),
            max_steps=max_steps,
        )
        if saved is not None:
            state = decode_state(*saved)
            self.trainer.load_state_dict(state["trainer"])
            self.runner.load_state_dict(state["runner"])

    def should_stop(self) -> bool:
        if self.polls_left is None:
            return False
        self.polls_left -= 1
        return self.polls_left < 0

    def whole_state(self) -> EncodedState:
        state = {"trainer": self.trainer.state_dict(), "runner": self.runner.state_dict()}
        return encode_state(state, copy=True)

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == kind]


def make_loader(task: Task) -> SequenceLoader:
    return SequenceLoader(task.train, sequence_length=LENGTH, batch_size=5, seed=SEED, name=task.name)


def evaluate(model: LanguageModel, domain: Domain) -> HeldoutLoss:
    return heldout_loss(model, domain.heldout, sequence_length=LENGTH, batch_size=8, device=CPU)


def assert_same_end(straight: Session, resumed: Session) -> None:
    """Everything that is saved at the end is equal, bit for bit: weights, moments, memory, matrix, generators."""
    one, other = (end_state(session) for session in (straight, resumed))
    assert one.json == other.json
    assert one.tensors.keys() == other.tensors.keys()
    different = {name for name in one.tensors if not torch.equal(one.tensors[name], other.tensors[name])}
    # The checker of type hints, at work in tests only, draws from Python's own generator.
    assert different <= {"/trainer/random/python/words"}


def end_state(session: Session) -> EncodedState:
    """Return the whole state, without the count of interrupted steps."""
    state = decode_state(*session.whole_state())
    counters = state["trainer"]["counters"]
    counters["closed"] -= counters.pop("aborted")
    return encode_state(state)


@pytest.fixture(scope="module")
def straight(domains: list[Domain], build_model: Callable) -> Session:
    session = Session(domains, build_model)
    assert session.runner.run() == Outcome(True, "finished")
    return session


def test_the_run_goes_through_rows_and_tasks_in_order(straight: Session):
    told = []
    for event in straight.events:
        if event["event"] in ("task_started", "task_finished"):
            told.append((event["event"], event["name"]))
        elif event["event"] == "evaluation":
            told.append((f"row {event['row']}", event["domain"]))
    names = ["rising", "falling", "jumping"]
    expected = [("row 0", name) for name in names]
    for row, task in enumerate(names, start=1):
        expected += [("task_started", task), ("task_finished", task), *((f"row {row}", name) for name in names)]
    assert told == expected
    assert straight.events[-1]["event"] == "run_finished"


def test_every_step_of_every_epoch_is_trained_once(straight: Session):
    # 25 sequences of text in micro-batches of 5, two a step: 3 steps an epoch; 2 + 1 + 1 epochs.
    steps = straight.of_kind("step")
    assert [(event["task"], event["epoch"]) for event in steps] == (
        [(0, 0)] * 3 + [(0, 1)] * 3 + [(1, 0)] * 3 + [(2, 0)] * 3
    )
    assert [event["step"] for event in steps] == list(range(1, 13))
    assert [event["steps"] for event in straight.of_kind("task_started")] == [6, 3, 3]
    assert [event["steps_before"] for event in straight.of_kind("task_started")] == [0, 6, 9]
    assert {event["loss"] is not None and event["tokens_per_s"] > 0 for event in steps} == {True}


def test_earlier_tasks_are_replayed_and_the_first_task_is_not(straight: Session):
    fractions = {task: [] for task in range(3)}
    for event in straight.of_kind("step"):
        fractions[event["task"]].append(event["numbers"]["replay/fraction"])
    assert set(fractions[0]) == {0.0}
    assert sum(fractions[1]) / 3 == pytest.approx(0.5, abs=0.1)
    assert sum(fractions[2]) / 3 == pytest.approx(0.5, abs=0.1)


def test_the_matrix_is_complete_and_the_text_was_learned(straight: Session):
    matrix = straight.runner.matrix
    assert all(metric.value is not None for metric in matrix.metrics().values())
    learned = matrix.metrics()["learned_average"].value
    assert learned < 0.95 * sum(matrix.values[0]) / 3


def test_the_learning_rate_rises_anew_in_each_task(straight: Session):
    rates = [event["learning_rate"] for event in straight.of_kind("step")]
    assert rates[0] == rates[6] == rates[9] == pytest.approx(1e-2)
    assert rates[5] == rates[8] == rates[11] == pytest.approx(1e-3)


def test_a_run_killed_after_any_save_ends_bit_for_bit_the_same(
    straight: Session, domains: list[Domain], build_model: Callable
):
    # Rows 0 to 3, every third step; every other save is enough to come by all kinds.
    assert len(straight.saves) == 4 + 4
    for saved in straight.saves[::2]:
        resumed = Session(domains, build_model, saved=saved)
        assert resumed.runner.run().is_finished
        assert_same_end(straight, resumed)


def test_a_run_stopped_at_any_moment_ends_bit_for_bit_the_same(
    straight: Session, domains: list[Domain], build_model: Callable
):
    reasons = set()
    for polls in range(0, 200, 9):
        stopped = Session(domains, build_model, polls_until_stop=polls)
        outcome = stopped.runner.run()
        if outcome.is_finished:
            break
        reasons.add((stopped.runner.progress.phase, outcome.reason))
        assert stopped.events[-1] == {**stopped.events[-1], "event": "stopped", "reason": "a stop was asked for"}
        resumed = Session(domains, build_model, saved=stopped.saves[-1])
        assert resumed.runner.run().is_finished
        assert_same_end(straight, resumed)
    else:
        pytest.fail("the run never got through 200 polls")
    assert {phase for phase, _ in reasons} == {"evaluate", "train"}


def test_a_run_stopped_again_and_again_still_ends_bit_for_bit_the_same(
    straight: Session, domains: list[Domain], build_model: Callable
):
    saved, num_sessions = None, 0
    while True:
        session = Session(domains, build_model, saved=saved, polls_until_stop=9)
        num_sessions += 1
        if session.runner.run().is_finished:
            break
        saved = session.saves[-1]
    assert num_sessions > 3
    assert_same_end(straight, session)


def test_an_evaluation_that_was_stopped_goes_on_with_the_domains_that_are_missing(
    domains: list[Domain], build_model: Callable
):
    stopped = Session(domains, build_model, polls_until_stop=2)
    assert not stopped.runner.run().is_finished
    assert stopped.runner.matrix.missing(0) == [2]
    resumed = Session(domains, build_model, saved=stopped.saves[-1])
    resumed.runner.run()
    assert [event["domain"] for event in resumed.of_kind("evaluation") if event["row"] == 0] == ["jumping"]


@pytest.mark.parametrize("limit", [1, 4, 6, 7, 12])
def test_max_steps_counts_applied_steps_of_the_whole_run_and_can_be_raised(
    limit: int, straight: Session, domains: list[Domain], build_model: Callable
):
    short = Session(domains, build_model, max_steps=limit)
    outcome = short.runner.run()
    assert short.trainer.counters.applied == limit
    assert outcome == (Outcome(True, "finished") if limit == 12 else Outcome(False, f"--max-steps {limit} reached"))
    again = Session(domains, build_model, saved=short.saves[-1], max_steps=limit)
    again.runner.run()
    assert again.trainer.counters.applied == limit
    resumed = Session(domains, build_model, saved=again.saves[-1] if again.saves else short.saves[-1])
    resumed.runner.run()
    assert_same_end(straight, resumed)


def test_a_resumed_task_is_announced_with_what_is_done(straight: Session, domains: list[Domain], build_model: Callable):
    stopped = Session(domains, build_model, max_steps=4)
    stopped.runner.run()
    resumed = Session(domains, build_model, saved=stopped.saves[-1])
    resumed.runner.run()
    first = resumed.of_kind("task_started")[0]
    assert (first["task"], first["steps"], first["steps_done"]) == (0, 6, 4)


def test_a_finished_run_has_nothing_left_to_do(straight: Session, domains: list[Domain], build_model: Callable):
    again = Session(domains, build_model, saved=straight.saves[-1])
    assert again.runner.run() == Outcome(True, "finished")
    assert not again.saves
    assert [event["event"] for event in again.events] == ["matrix", "run_finished"]


def test_matrix_json_is_kept_up_to_date(domains: list[Domain], build_model: Callable, tmp_path: Path):
    session = Session(domains, build_model, matrix_path=tmp_path / "matrix.json")
    session.runner.run()
    assert load_matrix(tmp_path / "matrix.json").state_dict() == session.runner.matrix.state_dict()


def test_without_continual_learning_everything_is_one_task(domains: list[Domain], build_model: Callable):
    session = Session(domains, build_model, continual=ContinualConfig(), epochs=2)
    session.runner.run()
    assert [event["name"] for event in session.of_kind("task_started")] == ["joint"]
    # 75 sequences of text: 8 steps an epoch.
    assert len(session.of_kind("step")) == 16
    assert session.runner.matrix.metrics()["final_average"].value is not None


def test_the_state_of_another_stream_is_refused(straight: Session, domains: list[Domain], build_model: Callable):
    with pytest.raises(ValueError, match="saved matrix: 3 tasks"):
        Session(domains, build_model, saved=straight.saves[0], continual=ContinualConfig(), epochs=2)


@pytest.mark.parametrize("tail", ["step", "drop", "carry"])
def test_the_announced_steps_are_the_steps_that_come(tail: str, domains: list[Domain], build_model: Callable):
    session = Session(domains, build_model, engine=EngineConfig(accumulation_steps=2, tail_policy=tail))
    session.runner.run()
    closed = [event["task"] for event in session.of_kind("step")]
    assert [closed.count(task) for task in range(3)] == [event["steps"] for event in session.of_kind("task_started")]


SINGLE = ContinualConfig(continual_learning=True, num_tasks=3, curriculum="single-task")


def test_a_single_task_is_learned_as_if_there_were_no_other(domains, build_model):
    together = Session(domains, build_model, continual=SINGLE, epochs=3)
    together.runner.run()
    for place, domain in enumerate(domains):
        alone = ContinualConfig(continual_learning=True, num_tasks=1)
        session = Session([domain], build_model, continual=alone, epochs=1)
        session.runner.run()
        assert together.runner.matrix.values[place + 1][place] == session.runner.matrix.values[1][0]


def test_models_of_their_own_have_a_learned_average_and_nothing_to_forget(domains, build_model):
    session = Session(domains, build_model, continual=SINGLE, epochs=3)
    session.runner.run()
    metrics = session.runner.matrix.metrics()
    assert metrics.pop("learned_average").value is not None
    assert {metric.reason for metric in metrics.values()} == {"each domain was learned by a model of its own"}


def test_a_single_task_run_that_was_stopped_ends_as_one_that_was_not(domains, build_model):
    whole = Session(domains, build_model, continual=SINGLE, epochs=3)
    whole.runner.run()
    saved, polls = None, 3
    while True:
        session = Session(domains, build_model, continual=SINGLE, epochs=3, saved=saved, polls_until_stop=polls)
        if session.runner.run().is_finished:
            break
        saved, polls = session.saves[-1], polls + 4
    assert session.runner.matrix.state_dict() == whole.runner.matrix.state_dict()


def test_a_reference_text_is_measured_after_each_task_and_its_drift_is_a_metric(domains, build_model, tmp_path):
    tasks = ContinualConfig(continual_learning=True, num_tasks=2)
    path = tmp_path / "matrix.json"
    session = Session(domains[:2], build_model, continual=tasks, epochs=2, reference=(domains[2],), matrix_path=path)
    session.runner.run()
    rows = session.runner.matrix.reference["jumping"]
    assert all(value is not None for value in rows)
    assert len(set(rows)) == 3
    assert session.runner.matrix.metrics()["reference_drift"].value == rows[2] - min(rows[1:])
    assert load_matrix(path).reference == {"jumping": rows}


def test_a_reference_text_changes_nothing_else(domains, build_model):
    tasks = ContinualConfig(continual_learning=True, num_tasks=2)
    runs = [
        Session(domains[:2], build_model, continual=tasks, epochs=2, reference=reference)
        for reference in ((), (domains[2],))
    ]
    for session in runs:
        session.runner.run()
    assert runs[0].runner.matrix.values == runs[1].runner.matrix.values


def test_a_reference_text_that_changed_is_refused(domains, build_model):
    tasks = ContinualConfig(continual_learning=True, num_tasks=2)
    first = Session(domains[:2], build_model, continual=tasks, epochs=2, reference=(domains[2],), max_steps=2)
    first.runner.run()
    other = replace(domains[2], content_hash="other")
    with pytest.raises(UserError, match="text of jumping changed"):
        Session(domains[:2], build_model, continual=tasks, epochs=2, reference=(other,), saved=first.saves[-1])


def patient(domains: list[Domain], build_model: Callable, patience: int, **options: Any) -> Session:
    # A learning rate at which no text gets better for long.
    engine = replace(ENGINE, patience=patience, learning_rate=4.0, min_learning_rate_ratio=1.0)
    return Session(domains, build_model, engine=engine, epochs=12, **options)


def test_patience_ends_a_task_that_has_stopped_improving_with_its_best_weights(
    domains: list[Domain], build_model: Callable
):
    session = patient(domains, build_model, 1)
    session.runner.run()
    epochs = [
        [event["value"] for event in session.of_kind("epoch_measured") if event["task"] == task] for task in range(3)
    ]
    assert any(len(values) < 4 for values in epochs)
    for task, values in enumerate(epochs):
        assert len(values) == 4 or values[-1] >= min(values)
        assert session.runner.matrix.values[task + 1][task] == min(values)


def test_patience_that_never_ends_changes_no_bit_but_that_the_best_weights_are_kept(
    domains: list[Domain], build_model: Callable
):
    engine = replace(ENGINE, patience=100)
    measured, plain = Session(domains, build_model, engine=engine), Session(domains, build_model)
    for session in (measured, plain):
        session.runner.run()
    if measured.of_kind("best_weights_put_back") == []:
        weights = [list(session.model.parameters()) for session in (measured, plain)]
        assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))
    assert len(measured.of_kind("epoch_measured")) == 4


def test_a_patient_run_stopped_anywhere_ends_bit_for_bit_the_same(domains: list[Domain], build_model: Callable):
    straight = patient(domains, build_model, 1)
    straight.runner.run()
    for polls in range(1, 40, 6):
        saved, stopped = None, True
        while stopped:
            session = patient(domains, build_model, 1, saved=saved, polls_until_stop=polls)
            stopped = not session.runner.run().is_finished
            saved = session.saves[-1] if session.saves else saved
            polls += 7
        assert_same_end(straight, session)
