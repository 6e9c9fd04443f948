"""Claims about the buffer of earlier tasks: what it keeps, what it draws, and what survives a restart."""

import math
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mambrane.continual.config import ContinualConfig
from mambrane.continual.replay import Replay
from mambrane.core.shapes import IGNORED_TARGET
from mambrane.data.batch import MicroBatch
from mambrane.engine.extensions import AfterStep, BatchMixer, Boundary, BoundaryView, LossTerm, StepView
from mambrane.models.state import ModelOutput, ModelState
from mambrane.storage.state_files import decode_state, encode_state

LENGTH = 4
STRATEGIES = ("balanced", "uniform", "importance")


def replay_of(strategy: str = "balanced", *, size: int = 20, fraction: float = 0.5, seed: int = 0) -> Replay:
    config = ContinualConfig(
        continual_learning=True,
        use_replay=True,
        replay_buffer_size=size,
        replay_strategy=strategy,
        replay_fraction=fraction,
    )
    return Replay(config, sequence_length=LENGTH, seed=seed)


def sequences(task: int, *numbers: int) -> MicroBatch:
    """Sequences that carry their task and number, so that they can be told apart wherever they turn up."""
    inputs = torch.tensor([[task, number, 7, 8] for number in numbers])
    targets = inputs + 1
    targets[:, -1] = IGNORED_TARGET
    return MicroBatch(inputs, targets, inputs == 7)


def end_task(replay: Replay, task: int) -> None:
    loader = SimpleNamespace(end_of_text=7)
    replay.boundary(BoundaryView(model=nn.Identity(), loader=loader, task_index=task, device=torch.device("cpu")))


def learn_tasks(replay: Replay, *sizes: int, batch_size: int = 4) -> None:
    """Show each task's sequences to the buffer without drawing from it, and end the task."""
    for task, size in enumerate(sizes):
        for first in range(0, size, batch_size):
            for number in range(first, min(first + batch_size, size)):
                replay._offer(sequences(task, number))
        end_task(replay, task)


def remembered(replay: Replay) -> list[tuple[int, int]]:
    batch = replay.buffer.read(torch.arange(replay.buffer.size))
    return [(row[0], row[1]) for row in batch.inputs_BT.tolist()]


def restarted(replay: Replay) -> Replay:
    again = Replay(replay.config, sequence_length=LENGTH, seed=999)
    again.load_state_dict(decode_state(*encode_state(replay.state_dict(), copy=True)))
    return again


def chi_square(counts: list[int], expected: float) -> float:
    return sum((count - expected) ** 2 for count in counts) / expected


@pytest.mark.parametrize("strategy", ["balanced", "uniform"])
@pytest.mark.parametrize("restart_after", [None, 7, 25])
def test_every_sequence_of_the_stream_is_kept_with_the_same_probability(strategy: str, restart_after: int | None):
    num_sequences, size, num_trials = 40, 10, 240
    kept: Counter[int] = Counter()
    for seed in range(num_trials):
        replay = replay_of(strategy, size=size, seed=seed)
        for number in range(num_sequences):
            if number == restart_after:
                replay = restarted(replay)
            replay.mix(sequences(0, number))
        assert replay.buffer.size == size
        kept.update(number for _, number in remembered(replay))
    counts = [kept[number] for number in range(num_sequences)]
    # Drawing without replacement shrinks the variance of each count by 1 - size / num_sequences.
    statistic = chi_square(counts, num_trials * size / num_sequences) / (1 - size / num_sequences)
    degrees = num_sequences - 1
    assert statistic < degrees + 3.5 * math.sqrt(2 * degrees)


def test_the_chi_square_test_sees_a_counter_that_was_lost_at_the_restart():
    kept: Counter[int] = Counter()
    for seed in range(400):
        replay = replay_of("uniform", size=10, seed=seed)
        for number in range(40):
            if number == 25:
                replay.num_seen = [10]
            replay.mix(sequences(0, number))
        kept.update(number for _, number in remembered(replay))
    assert chi_square([kept[number] for number in range(40)], 100.0) / 0.75 > 39 + 3.5 * math.sqrt(78)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_restart_goes_on_bit_for_bit(strategy: str):
    replay = replay_of(strategy)
    learn_tasks(replay, 30, 9)
    for number in range(3):
        replay.mix(sequences(2, *range(number * 5, number * 5 + 5)))
    again = restarted(replay)
    for number in range(3, 12):
        batch = sequences(2, *range(number * 5, number * 5 + 5))
        for one, other in zip(replay.mix(batch), again.mix(batch), strict=True):
            assert torch.equal(one, other)
    assert remembered(replay) == remembered(again)


def saved(replay: Replay) -> tuple[object, dict[str, list[int]]]:
    """Return every bit of the state that a checkpoint would hold."""
    state = encode_state(replay.state_dict(), copy=True)
    return state.json, {name: tensor.view(torch.uint8).tolist() for name, tensor in state.tensors.items()}


@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(max_examples=30)
@given(
    sizes=st.lists(st.integers(0, 30), max_size=3),
    capacity=st.integers(1, 25),
    kept=st.lists(st.integers(1, 9), max_size=3),
    aborted=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    has_undone_before=st.booleans(),
)
def test_an_undone_step_leaves_the_state_bit_for_bit_and_comes_again_as_it_was(
    strategy: str, sizes: list[int], capacity: int, kept: list[int], aborted: list[int], has_undone_before: bool
):
    replay = replay_of(strategy, size=capacity)
    learn_tasks(replay, *sizes)
    task = len(sizes)
    for number, batch_size in enumerate(kept):
        replay.undo_point()
        replay.mix(sequences(task, *range(10 * number, 10 * number + batch_size)))
        apply_step(replay)
    batches = [sequences(task, *range(100 + 10 * n, 100 + 10 * n + size)) for n, size in enumerate(aborted)]
    for _ in range(1 + has_undone_before):
        before, undo = saved(replay), replay.undo_point()
        first = [replay.mix(batch) for batch in batches]
        after = saved(replay)
        undo()
        assert saved(replay) == before
    again = [replay.mix(batch) for batch in batches]
    assert saved(replay) == after != before
    for one, other in zip(first, again, strict=True):
        assert all(torch.equal(*parts) for parts in zip(one, other, strict=True))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_nothing_is_replayed_before_there_is_an_earlier_task(strategy: str):
    replay = replay_of(strategy)
    for first in range(0, 40, 4):
        batch = sequences(0, *range(first, first + 4))
        assert replay.mix(batch) is batch


@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(max_examples=30)
@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    capacity=st.integers(1, 25),
    batch_sizes=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    fraction=st.sampled_from([0.0, 0.1, 0.5, 0.7, 0.95]),
)
def test_mixing_keeps_the_number_of_rows_and_replays_only_earlier_tasks(
    strategy: str, sizes: list[int], capacity: int, batch_sizes: list[int], fraction: float
):
    replay = replay_of(strategy, size=capacity, fraction=fraction)
    learn_tasks(replay, *sizes)
    current, num_replayed, num_rows = len(sizes), 0, 0
    has_earlier = replay.buffer.size > 0
    for step, batch_size in enumerate(batch_sizes):
        batch = sequences(current, *range(100 * step, 100 * step + batch_size))
        still_earlier = bool((replay.buffer.tasks < current).any())
        mixed = replay.mix(batch)
        assert mixed.inputs_BT.shape == batch.inputs_BT.shape
        assert mixed.num_targets == batch.num_targets
        tasks = mixed.inputs_BT[:, 0].tolist()
        num_new = tasks.count(current)
        assert tasks[:num_new] == [current] * num_new
        assert torch.equal(mixed.inputs_BT[:num_new], batch.inputs_BT[:num_new])
        num_replayed += batch_size - num_new
        num_rows += batch_size if still_earlier else 0
        assert replay.buffer.size <= capacity
    if has_earlier:
        assert num_replayed == int(fraction * num_rows + 1e-6)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_replayed_row_is_known_as_such_until_its_step_ends_though_new_text_has_taken_its_place(strategy: str):
    replay = replay_of(strategy, size=6)
    learn_tasks(replay, 6)
    num_known, num_replayed = 0, 0
    for step in range(20):
        replay.undo_point()
        mixed = [replay.mix(sequences(1, *range(first, first + 8))) for first in (16 * step, 16 * step + 8)]
        for batch in mixed:
            is_known_B = replay.replays(replay.buffer.fingerprints_of(batch))
            assert is_known_B.tolist() == (batch.inputs_BT[:, 0] == 0).tolist()
            num_known += int(is_known_B.sum())
            num_replayed += int((batch.inputs_BT[:, 0] == 0).sum())
    assert num_known == num_replayed > 20


def test_replayed_sequences_come_back_whole():
    replay = replay_of()
    learn_tasks(replay, 10)
    mixed = replay.mix(sequences(1, *range(6)))
    for row in range(3, 6):
        number = int(mixed.inputs_BT[row, 1])
        for part, original in zip(mixed, sequences(0, number), strict=True):
            assert torch.equal(part[row : row + 1], original)


def test_at_one_row_a_batch_the_fraction_is_still_met():
    replay = replay_of(fraction=0.25)
    learn_tasks(replay, 10)
    tasks = [int(replay.mix(sequences(1, number)).inputs_BT[0, 0]) for number in range(40)]
    assert tasks.count(0) == 10


@pytest.mark.parametrize("fraction", [0.125, 0.75])
@pytest.mark.parametrize("was_saved", [True, False], ids=["now", "before the fraction was saved"])
def test_another_fraction_holds_from_the_next_batch_on(fraction: float, was_saved: bool):
    before = replay_of(fraction=0.5)
    learn_tasks(before, 12)
    for first in range(100):
        before.mix(sequences(1, *range(8 * first, 8 * first + 8)))
    state = decode_state(*encode_state(before.state_dict()))
    if not was_saved:
        del state["fraction"]
    after = replay_of(fraction=fraction)
    after.load_state_dict(state)
    for first in range(4):
        mixed = after.mix(sequences(2, *range(8 * first, 8 * first + 8)))
        assert (mixed.inputs_BT[:, 0] != 2).sum() == 8 * fraction


def test_fraction_zero_equals_off():
    replay = replay_of(fraction=0.0)
    learn_tasks(replay, 10)
    batch = sequences(1, 0, 1, 2)
    assert replay.mix(batch) is batch


def test_the_balanced_memory_gives_every_task_its_share():
    replay = replay_of("balanced", size=30)
    learn_tasks(replay, 100, 20, 500)
    assert Counter(task for task, _ in remembered(replay)) == {0: 10, 1: 10, 2: 10}


def test_earlier_tasks_keep_free_room_until_a_new_task_needs_it():
    replay = replay_of("balanced", size=30)
    learn_tasks(replay, 100, 4)
    assert Counter(task for task, _ in remembered(replay)) == {0: 26, 1: 4}


def test_the_uniform_memory_holds_tasks_in_proportion_to_their_text():
    counts: Counter[int] = Counter()
    for seed in range(60):
        replay = replay_of("uniform", size=20, seed=seed)
        learn_tasks(replay, 30, 90)
        counts.update(task for task, _ in remembered(replay))
    assert counts[1] / counts.total() == pytest.approx(0.75, abs=0.03)


def test_balanced_draws_every_earlier_task_alike_and_uniform_every_sequence():
    shares = {}
    for strategy in ("balanced", "uniform"):
        replay = replay_of(strategy, size=30)
        learn_tasks(replay, 24, 6)
        drawn: Counter[int] = Counter()
        for _ in range(400):
            drawn.update(replay._draw(2).inputs_BT[:, 0].tolist())
        shares[strategy] = drawn[1] / drawn.total()
    assert shares["balanced"] == pytest.approx(0.5, abs=0.06)
    assert shares["uniform"] == pytest.approx(0.2, abs=0.05)


def output_with_loss(batch: MicroBatch, nats: list[float]) -> ModelOutput:
    """Scores under which every target of row b costs nats[b]."""
    logits = torch.zeros(*batch.inputs_BT.shape, 2000)
    for row, loss in enumerate(nats):
        # -log softmax of the target among V equal others: log(1 + (V - 1) exp(-score)) = loss.
        score = -math.log((math.exp(loss) - 1) / 1999)
        logits[row].scatter_(1, batch.targets_BT[row].clamp(min=0)[:, None], score)
    return ModelOutput(logits, ModelState(()), ())


def see(replay: Replay, batch: MicroBatch, nats: list[float]) -> None:
    """Run a micro-batch whose sequences have these losses."""
    assert replay.term(nn.Identity(), output_with_loss(batch, nats), batch) is None


def apply_step(replay: Replay, *batches: MicroBatch) -> None:
    """Close the step of these micro-batches as applied."""
    view = StepView(nn.Identity(), list(batches), [], [], num_targets=1, applied_step=1, learning_rate=0.1)
    replay.after_step(view)


def losses_by_number(replay: Replay) -> dict[int, float]:
    numbers = (number for _, number in remembered(replay))
    return dict(sorted(zip(numbers, replay.buffer.losses.tolist(), strict=True)))


def test_importance_draws_in_proportion_to_the_loss_a_sequence_last_had():
    replay = replay_of("importance", size=4)
    learn_tasks(replay, 4)
    batch = sequences(0, 0, 1, 2, 3)
    for nats in ([9.0, 9.0, 9.0, 9.0], [1.0, 1.0, 1.0, 5.0]):
        see(replay, batch, nats)
        apply_step(replay, batch)
    order = [number for _, number in remembered(replay)]
    torch.testing.assert_close(replay.buffer.losses[order.index(3)], torch.tensor(5.0))
    drawn: Counter[int] = Counter()
    for _ in range(600):
        drawn.update(replay._draw(1).inputs_BT[:, 1].tolist())
    assert drawn[3] / drawn.total() == pytest.approx(5 / 8, abs=0.06)


def test_a_sequence_whose_loss_is_unknown_counts_as_an_average_one():
    replay = replay_of("importance", size=4)
    learn_tasks(replay, 4)
    assert replay.buffer.weights("importance", replay.task_index).tolist() == [1.0] * 4
    batch = sequences(0, 0, 1)
    see(replay, batch, [1.0, 3.0])
    apply_step(replay, batch)
    assert sorted(replay.buffer.weights("importance", replay.task_index).tolist()) == pytest.approx(
        [1.0, 2.0, 2.0, 3.0], rel=1e-4
    )


def test_looking_at_losses_changes_no_state_before_the_step_is_applied():
    replay = replay_of("importance", size=4)
    learn_tasks(replay, 4)
    before = encode_state(replay.state_dict(), copy=True)
    see(replay, sequences(0, 0, 1), [1.0, 3.0])
    after = encode_state(replay.state_dict(), copy=True)
    assert before.json == after.json
    assert all(same(before.tensors[name], after.tensors[name]) for name in before.tensors)


def test_a_step_that_is_not_applied_leaves_no_loss_behind():
    replay = replay_of("importance", size=4)
    learn_tasks(replay, 4)
    first, second = sequences(0, 0, 1), sequences(0, 2, 3)
    see(replay, first, [1.0, 3.0])
    again = restarted(replay)
    for each in (replay, again):
        see(each, second, [2.0, 4.0])
        apply_step(each, second)
        expected = {0: math.nan, 1: math.nan, 2: 2.0, 3: 4.0}
        assert losses_by_number(each) == pytest.approx(expected, rel=1e-4, nan_ok=True)


def test_the_loss_of_an_aborted_step_is_forgotten_with_it():
    replay = replay_of("importance", size=4)
    learn_tasks(replay, 4)
    batch, undo = sequences(0, 0, 1, 2, 3), replay.undo_point()
    see(replay, batch, [1.0] * 4)
    undo()
    apply_step(replay, batch)
    assert replay.buffer.losses.isnan().all()


def test_a_micro_batch_that_runs_again_in_halves_notes_each_sequence_once():
    replay = replay_of("importance", size=4)
    learn_tasks(replay, 4)
    halves = [sequences(0, 0, 1), sequences(0, 2, 3)]
    see(replay, sequences(0, 0, 1, 2, 3), [9.0] * 4)
    see(replay, halves[0], [1.0, 2.0])
    see(replay, halves[1], [3.0, 4.0])
    apply_step(replay, *halves)
    assert losses_by_number(replay) == pytest.approx({0: 1.0, 1: 2.0, 2: 3.0, 3: 4.0}, rel=1e-4)


@pytest.mark.parametrize("loss", [math.inf, math.nan])
def test_a_loss_that_is_not_finite_leaves_the_one_before_and_the_draw_goes_on(loss: float):
    replay = replay_of("importance", size=4)
    learn_tasks(replay, 4)
    batch = sequences(0, 0, 1, 2, 3)
    see(replay, batch, [1.0, 2.0, 3.0, 4.0])
    apply_step(replay, batch)
    output = output_with_loss(batch, [5.0, 6.0, 7.0, 8.0])
    output.logits_BTV[0] = torch.nan if math.isnan(loss) else -output.logits_BTV[0] * math.inf
    replay.term(nn.Identity(), output, batch)
    apply_step(replay, batch)
    assert losses_by_number(replay) == pytest.approx({0: 1.0, 1: 6.0, 2: 7.0, 3: 8.0}, rel=1e-4)
    replay._draw(2)


def test_a_memory_saved_with_an_infinite_loss_can_still_be_drawn_from():
    replay = replay_of("importance", size=4)
    learn_tasks(replay, 4)
    replay.buffer.losses[:2] = torch.tensor([math.inf, 3.0])
    again = restarted(replay)
    assert sorted(again.buffer.weights("importance", again.task_index).tolist()) == [3.0] * 4
    again._draw(2)


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.equal(one.view(torch.uint8), other.view(torch.uint8))


def test_a_smaller_buffer_keeps_as_much_of_each_task_and_a_larger_one_all():
    replay = replay_of(size=20)
    learn_tasks(replay, 20, 20)
    smaller, larger = replay_of(size=10), replay_of(size=30)
    smaller.load_state_dict(replay.state_dict())
    larger.load_state_dict(replay.state_dict())
    assert smaller.buffer.tasks.bincount().tolist() == [5, 5]
    assert larger.buffer.size == 20
    kept = smaller.buffer.state_dict()["fingerprints"]
    assert set(kept.tolist()) < set(replay.buffer.state_dict()["fingerprints"].tolist())


def test_a_buffer_of_another_sequence_length_is_refused():
    replay = replay_of(size=20)
    learn_tasks(replay, 20)
    state = replay.state_dict()
    buffer = {name: column[:, :2] if column.ndim == 2 else column for name, column in state["buffer"].items()}
    with pytest.raises(ValueError, match="20 sequences of 2 tokens"):
        replay_of(size=20).load_state_dict({**state, "buffer": buffer})


def test_replay_fills_its_four_seams():
    assert all(isinstance(replay_of(), seam) for seam in (AfterStep, BatchMixer, Boundary, LossTerm))
