"""Sequences: every token once, an order that depends on the seed, and a cursor that survives interruptions."""

import json
from itertools import islice, pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mambrane.core.errors import UserError
from mambrane.core.shapes import IGNORED_TARGET
from mambrane.core.stateful import Stateful
from mambrane.data.loader import SequenceLoader, heldout_batches
from mambrane.data.tokenizer import BytesTokenizer
from mambrane.data.tokens import token_file_from

END = 256
DOCUMENTS = [bytes(range(start, start + 23)) for start in range(0, 230, 23)]
STREAM = token_file_from(DOCUMENTS, BytesTokenizer())


def loader_for(*streams, sequence_length=16, batch_size=4, seed=1, name="train", epoch_tokens=0):
    return SequenceLoader(
        streams or [STREAM],
        sequence_length=sequence_length,
        batch_size=batch_size,
        seed=seed,
        name=name,
        epoch_tokens=epoch_tokens,
    )


def rows(batches):
    return [row for batch in batches for row in zip(*(tensor.tolist() for tensor in batch), strict=True)]


def pairs(batches):
    """Return every (input, target) that counts."""
    return [
        (token, target)
        for inputs, targets, _ in rows(batches)
        for token, target in zip(inputs, targets, strict=True)
        if target != IGNORED_TARGET
    ]


def ring_pairs(stream):
    tokens = stream.tokens.tolist()
    return list(zip(tokens, tokens[1:] + tokens[:1], strict=True))


def assert_same(got, expected):
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


documents = st.lists(st.binary(max_size=40), min_size=1, max_size=8)


@given(st.lists(documents, min_size=1, max_size=3), st.integers(1, 20), st.integers(1, 5), st.integers(0, 3))
def test_every_token_is_an_input_once_and_a_target_once(texts, sequence_length, batch_size, epoch):
    streams = [token_file_from(text, BytesTokenizer()) for text in texts]
    loader = loader_for(*streams, sequence_length=sequence_length, batch_size=batch_size)
    for _ in range(epoch):
        assert len(list(loader.epoch_batches())) == loader.num_batches
    batches = list(loader.epoch_batches())
    assert len(batches) == loader.num_batches
    assert all(batch.inputs_BT.shape == (batch_size, sequence_length) for batch in batches[:-1])
    assert sorted(pairs(batches)) == sorted(pair for stream in streams for pair in ring_pairs(stream))
    assert sum(batch.num_targets for batch in batches) == sum(stream.num_tokens for stream in streams)


@given(documents, st.integers(1, 20), st.integers(1, 5))
def test_held_out_sequences_cover_the_stream_in_order(text, sequence_length, batch_size):
    stream = token_file_from(text, BytesTokenizer())
    batches = list(heldout_batches(stream, sequence_length, batch_size))
    assert pairs(batches) == ring_pairs(stream)
    assert sum(batch.num_targets for batch in batches) == stream.num_bytes + stream.num_documents


def test_resets_stand_exactly_where_documents_start():
    batches = [*loader_for().epoch_batches(), *heldout_batches(STREAM, 16, 4)]
    for inputs, _, resets in rows(batches):
        assert resets == [token == END for token in inputs]
    documents_read = [token for token, _ in pairs(loader_for().epoch_batches()) if token == END]
    assert len(documents_read) == len(DOCUMENTS)


def test_a_short_sequence_is_padded_with_end_of_text_and_no_targets():
    stream = token_file_from([b"abc"], BytesTokenizer())
    ((inputs, targets, resets),) = rows(heldout_batches(stream, 6, 2))
    assert inputs == [END, *b"abc", END, END]
    assert targets == [*b"abc", END, IGNORED_TARGET, IGNORED_TARGET]
    assert resets == [True, False, False, False, True, True]


def test_tokens_have_the_types_the_model_wants():
    (batch, *_) = loader_for().epoch_batches()
    assert [tensor.dtype for tensor in batch] == [torch.int64, torch.int64, torch.bool]


def test_equal_seeds_give_equal_orders():
    assert_same(list(loader_for(seed=5).epoch_batches()), list(loader_for(seed=5).epoch_batches()))


@pytest.mark.parametrize("other", [{"seed": 2}, {"name": "other"}])
def test_another_seed_or_name_gives_another_order(other):
    assert rows(loader_for().epoch_batches()) != rows(loader_for(**other).epoch_batches())


def test_epochs_differ_in_order_and_in_where_sequences_start():
    loader = loader_for()
    epochs = [rows(loader.epoch_batches()) for _ in range(4)]
    assert all(one != other for one, other in pairwise(epochs))
    starts = [{tuple(inputs) for inputs, _, _ in epoch} for epoch in epochs]
    assert starts[0] != starts[1]


def test_epochs_differ_in_order_even_where_sequences_start_alike():
    loader = loader_for(sequence_length=1)
    first, second = rows(loader.epoch_batches()), rows(loader.epoch_batches())
    assert sorted(first) == sorted(second)
    assert first != second


def test_sequences_of_several_streams_are_mixed():
    streams = [token_file_from([bytes([value]) * 400], BytesTokenizer()) for value in (1, 2)]
    order = [inputs[-1] for inputs, _, _ in rows(loader_for(*streams).epoch_batches())]
    changes = sum(one != other for one, other in pairwise(order))
    assert set(order) >= {1, 2}
    assert changes > 10


@given(st.lists(documents, min_size=1, max_size=2), st.integers(1, 20), st.integers(1, 5), st.integers(1, 200))
def test_epochs_of_a_budget_repeat_no_text_before_all_of_it_was_read(texts, sequence_length, batch_size, budget):
    streams = [token_file_from(text, BytesTokenizer()) for text in texts]
    sizes = {"sequence_length": sequence_length, "batch_size": batch_size}
    whole, loader = loader_for(*streams, **sizes), loader_for(*streams, **sizes, epoch_tokens=budget)
    wanted = [row for _ in range(2) for row in rows(whole.epoch_batches())]
    got = []
    while len(got) < len(wanted):
        epoch = rows(loader.epoch_batches())
        assert len(epoch) == loader.num_samples == min(-(-budget // sequence_length), whole.num_samples)
        got += epoch
    assert got[: len(wanted)] == wanted


def test_a_budget_gives_other_epochs_than_the_whole_text():
    assert rows(loader_for(epoch_tokens=64).epoch_batches()) != rows(loader_for().epoch_batches())


def test_a_budget_of_zero_is_the_whole_text_bit_for_bit():
    without = SequenceLoader([STREAM], sequence_length=16, batch_size=4, seed=1, name="train")
    zero = loader_for(epoch_tokens=0)
    for _ in range(3):
        assert_same(list(zero.epoch_batches()), list(without.epoch_batches()))
    assert loader_for(epoch_tokens=0).num_tokens == STREAM.num_tokens


@pytest.mark.parametrize("epoch_tokens", [0, 40, 1000])
@settings(max_examples=40)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=2), st.integers(0, 2))
def test_resuming_after_any_interruptions_gives_exactly_the_remaining_batches(epoch_tokens, stops, epochs_before):
    """Each stop: so many batches are read and committed, one more is read and lost, the process dies."""
    uninterrupted = loader_for(sequence_length=8, epoch_tokens=epoch_tokens)
    for _ in range(epochs_before):
        list(uninterrupted.epoch_batches())
    expected = [*uninterrupted.epoch_batches(), *uninterrupted.epoch_batches()]

    loader = loader_for(sequence_length=8, epoch_tokens=epoch_tokens)
    for _ in range(epochs_before):
        list(loader.epoch_batches())
        loader.commit()
    got = []
    for stop in stops:
        for batch in islice(loader.epoch_batches(), stop):
            got.append(batch)
            loader.commit()
        next(loader.epoch_batches(), None)
        state = json.loads(json.dumps(loader.state_dict()))
        loader = loader_for(sequence_length=8, epoch_tokens=epoch_tokens)
        loader.load_state_dict(state)
    for _ in range(epochs_before + 2 - loader.epoch):
        for batch in loader.epoch_batches():
            got.append(batch)
            loader.commit()
    assert_same(got, expected)


def test_only_committed_samples_are_saved():
    loader = loader_for()
    batches = loader.epoch_batches()
    next(batches)
    assert loader.state_dict()["consumed_samples"] == 0
    loader.commit()
    next(batches)
    assert loader.state_dict()["consumed_samples"] == 4


def test_rewind_hands_out_the_same_batches_again_in_the_same_iteration():
    loader = loader_for()
    batches = loader.epoch_batches()
    first, second = next(batches), next(batches)
    loader.rewind()
    assert_same([next(batches), next(batches)], [first, second])
    loader.commit()
    third = next(batches)
    loader.rewind()
    assert_same([next(loader.epoch_batches())], [third])


def test_rewind_reaches_back_over_the_end_of_an_epoch():
    loader = loader_for()
    last = list(loader.epoch_batches())[-1]
    loader.rewind()
    for _ in islice(loader.epoch_batches(), loader.num_batches - 1):
        loader.commit()
    assert_same(list(loader.epoch_batches()), [last])
    loader.rewind()
    assert_same(list(loader.epoch_batches()), [last])


@pytest.mark.parametrize("commit_after_the_end", [True, False])
def test_an_epoch_counts_once_its_last_sample_is_committed(commit_after_the_end):
    loader = loader_for()
    for _ in loader.epoch_batches():
        assert loader.epoch == 0
        if not commit_after_the_end:
            loader.commit()
    if commit_after_the_end:
        assert loader.epoch == 0
        loader.commit()
    assert loader.epoch == 1
    assert loader.state_dict()["consumed_samples"] == 0


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"sequence_length": 8}, "sequence_length: 16 -> 8"),
        ({"batch_size": 2}, "batch_size: 4 -> 2"),
        ({"seed": 9}, "seed: 1 -> 9"),
        ({"name": "other"}, "name: train -> other"),
        ({"epoch_tokens": 64}, "epoch_tokens: 0 -> 64"),
    ],
)
def test_a_changed_setting_is_refused_with_the_difference(change, shown):
    state = loader_for().state_dict()
    with pytest.raises(UserError, match=shown):
        loader_for(**change).load_state_dict(state)


def test_changed_text_is_refused():
    state = loader_for().state_dict()
    other = token_file_from([*DOCUMENTS, b"more"], BytesTokenizer())
    with pytest.raises(UserError, match=r"data: .* -> (.|\n)*num_tokens: \[240\] -> \[245\](.|\n)*--output-dir"):
        loader_for(other).load_state_dict(state)


def test_the_loader_can_be_saved_like_every_other_part():
    assert isinstance(loader_for(), Stateful)


def test_the_order_is_the_one_that_saved_runs_rely_on():
    inputs = next(loader_for().epoch_batches()).inputs_BT[:, :3]
    assert inputs.tolist() == [[124, 125, 126], [63, 64, 65], [139, 140, 141], [170, 171, 172]]
