"""Windowed attention: kernels and chunks equal the reference, forward and backward; a cache carries the past."""

import inspect

import pytest
import torch
from torch.utils.checkpoint import checkpoint

import mambrane.ops.windowed_attention.numba_cpu  # noqa: F401 -- registers torch.ops.mambrane.windowed_attention
from mambrane.core.seeding import make_generator
from mambrane.kernels.vectors import LANES
from mambrane.ops import KeyValueCache, windowed_attention
from mambrane.ops.windowed_attention.numba_cpu import BLOCK_TOKENS
from tests.ops.gradients import outputs_and_gradients
from tests.ops.tolerances import RATIO, assert_close

BATCH, HEADS, NUMBERS, WINDOW = 2, 3, 5, 8
DTYPES = [torch.float32, torch.float64, torch.bfloat16]
FAST_BACKENDS = pytest.mark.parametrize("backend", ["numba", "chunked"])
EVERY_BACKEND = pytest.mark.parametrize("backend", ["reference", "numba", "chunked"])


def make_inputs(tokens, *, heads=HEADS, numbers=NUMBERS, window=WINDOW, batch=BATCH, dtype=torch.float32, cache=True):
    generator = make_generator(0, "attention")
    names = ("query_BTI", "key_BTI", "value_BTI")
    shapes = dict.fromkeys(names, (batch, tokens, heads * numbers))
    if cache:
        shapes |= dict.fromkeys(("keys_BWI", "values_BWI"), (batch, window, heads * numbers))
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}


def make_resets(batch, tokens, *where):
    resets_BT = torch.zeros(batch, tokens, dtype=torch.bool)
    resets_BT[0, list(where)] = True
    return resets_BT


def attend(query_BTI, key_BTI, value_BTI, keys_BWI=None, values_BWI=None, *, heads=HEADS, num_valid=None, **options):
    """Call the operation with the cache as plain tensors; the oldest slots of the first sequence may hold nothing."""
    options = {"window": WINDOW} | options
    state = None
    if keys_BWI is not None:
        valid_BW = torch.ones(keys_BWI.shape[:2], dtype=torch.bool)
        if num_valid is not None:
            valid_BW[0, : options["window"] - num_valid] = False
        state = KeyValueCache(keys_BWI, values_BWI, valid_BW)
    read_BTI, cache = windowed_attention(query_BTI, key_BTI, value_BTI, heads=heads, state=state, **options)
    return read_BTI, cache.keys_BWI, cache.values_BWI


def assert_backend_equals_reference(backend, inputs, dtype=torch.float32, **options):
    reference = outputs_and_gradients(attend, inputs, backend="reference", **options)
    got = outputs_and_gradients(attend, inputs, backend=backend, **options)
    ratio = RATIO[dtype]
    if backend == "chunked" and dtype == torch.bfloat16:
        # PyTorch's attention rounds its gradients between the steps, too.
        ratio *= 4
    for name in reference:
        assert_close(name, reference[name], got[name], ratio)


@FAST_BACKENDS
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("tokens", [1, 2, 7, 8, 9, 63, 100])
def test_a_backend_equals_the_reference_forward_and_backward(backend, tokens, dtype):
    assert_backend_equals_reference(backend, make_inputs(tokens, dtype=dtype), dtype)


@FAST_BACKENDS
@pytest.mark.parametrize("tokens", [1, 5, 8, 30])
def test_a_backend_equals_the_reference_without_a_ring(backend, tokens):
    assert_backend_equals_reference(backend, make_inputs(tokens, cache=False))


@FAST_BACKENDS
@pytest.mark.parametrize("num_valid", [0, 1, 5])
def test_empty_slots_of_the_ring_are_not_seen(backend, num_valid):
    assert_backend_equals_reference(backend, make_inputs(12), num_valid=num_valid)


@FAST_BACKENDS
@pytest.mark.parametrize("where", [(0,), (1,), (3, 4), (0, 13), (18,), (19,)], ids=str)
@pytest.mark.parametrize("window", [1, 8, 40])
def test_resets_give_the_reference(backend, window, where):
    inputs = make_inputs(20, window=window) | {"resets_BT": make_resets(BATCH, 20, *where)}
    assert_backend_equals_reference(backend, inputs, window=window, num_valid=1)


@pytest.mark.parametrize(
    ("batch", "heads", "numbers", "window"),
    [(1, 1, 1, 1), (1, 16, 4, 64), (2, 16, 16, 64), (5, 7, 2, 3), (3, 17, 3, 5), (40, 1, 6, 4)],
)
def test_any_number_of_heads_sequences_and_slots_gives_the_reference(batch, heads, numbers, window):
    inputs = make_inputs(37, batch=batch, heads=heads, numbers=numbers, window=window)
    inputs |= {"resets_BT": make_resets(batch, 37, 11, 30)}
    assert_backend_equals_reference("numba", inputs, heads=heads, window=window)


@pytest.mark.parametrize("window", [1, 3, BLOCK_TOKENS + 5])
@pytest.mark.parametrize("cache", [True, False])
def test_blocks_of_queries_give_the_reference(window, cache):
    tokens = 2 * BLOCK_TOKENS + 7
    resets_BT = make_resets(BATCH, tokens, BLOCK_TOKENS - 1, BLOCK_TOKENS, 2 * BLOCK_TOKENS + 1)
    inputs = make_inputs(tokens, window=window, cache=cache, heads=1, numbers=2) | {"resets_BT": resets_BT}
    assert_backend_equals_reference("numba", inputs, heads=1, window=window)


@EVERY_BACKEND
def test_a_window_of_one_token_reads_the_token_itself(backend):
    inputs = make_inputs(9, window=1)
    read_BTI, _, _ = attend(**inputs, window=1, backend=backend)
    torch.testing.assert_close(read_BTI, inputs["value_BTI"])


@EVERY_BACKEND
@pytest.mark.parametrize("tokens", [1, 3, 8, 20])
def test_the_ring_holds_the_newest_keys_and_says_which_count(backend, tokens):
    query, key, value = make_inputs(tokens, cache=False).values()
    resets_BT = make_resets(BATCH, tokens, tokens - 1)
    _, cache = windowed_attention(query, key, value, heads=HEADS, window=WINDOW, resets_BT=resets_BT, backend=backend)
    kept = min(tokens, WINDOW)
    assert torch.equal(cache.keys_BWI[:, WINDOW - kept :], key[:, tokens - kept :])
    assert torch.equal(cache.values_BWI[:, WINDOW - kept :], value[:, tokens - kept :])
    assert not cache.keys_BWI[:, : WINDOW - kept].any()
    assert cache.valid_BW.sum(dim=1).tolist() == [1, kept]
    assert cache.valid_BW[:, -1].all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "cuts", [(37,), (1, 2, 3, 4), (8, 16, 17), tuple(range(1, 50))], ids=lambda cuts: str(cuts[:4])
)
def test_a_split_sequence_equals_the_whole_bit_for_bit(cuts, dtype):
    query, key, value = make_inputs(50, dtype=dtype, cache=False).values()
    resets_BT = make_resets(BATCH, 50, 6, 35)
    options = {"heads": HEADS, "window": WINDOW}
    whole, last = windowed_attention(query, key, value, resets_BT=resets_BT, **options)
    state, pieces = None, []
    for start, stop in zip((0, *cuts), (*cuts, 50), strict=True):
        piece = (x[:, start:stop] for x in (query, key, value))
        read, state = windowed_attention(*piece, state=state, resets_BT=resets_BT[:, start:stop], **options)
        pieces.append(read)
    assert torch.equal(whole, torch.cat(pieces, dim=1))
    assert all(torch.equal(*pair) for pair in zip(last, state, strict=True))


@EVERY_BACKEND
def test_gradients_flow_through_the_ring_of_pieces_as_through_the_whole(backend):
    inputs = make_inputs(30, dtype=torch.float64, cache=False)

    def in_pieces(query, key, value):
        state, pieces = None, []
        for start, stop in ((0, 3), (3, 17), (17, 18), (18, 30)):
            piece = (x[:, start:stop] for x in (query, key, value))
            read, state = windowed_attention(*piece, heads=HEADS, window=WINDOW, state=state, backend=backend)
            pieces.append(read)
        return (torch.cat(pieces, dim=1),)

    def whole(query, key, value):
        return windowed_attention(query, key, value, heads=HEADS, window=WINDOW, backend="reference")[:1]

    names = dict(zip(inputs, ("query", "key", "value"), strict=True))
    inputs = {names[name]: tensor for name, tensor in inputs.items()}
    expected, got = outputs_and_gradients(whole, inputs), outputs_and_gradients(in_pieces, inputs)
    for name in expected:
        assert_close(name, expected[name], got[name], RATIO[torch.float64])


@pytest.mark.parametrize("changed", [0, 5, 11, 19])
def test_a_token_changes_nothing_before_it_bit_for_bit(changed):
    inputs = make_inputs(20)
    before, _, _ = attend(**inputs)
    for name in ("query_BTI", "key_BTI", "value_BTI"):
        inputs[name][:, changed] += 1
    after, _, _ = attend(**inputs)
    assert torch.equal(before[:, :changed], after[:, :changed])
    assert not torch.equal(before[:, changed], after[:, changed])


@pytest.mark.parametrize("distance", [WINDOW - 1, WINDOW])
def test_a_query_sees_as_far_as_the_window_and_no_further(distance):
    inputs = make_inputs(20)
    before, _, _ = attend(**inputs)
    inputs["value_BTI"][:, 4] += 1
    after, _, _ = attend(**inputs)
    assert torch.equal(before[:, 4 + distance], after[:, 4 + distance]) == (distance == WINDOW)


def test_a_sequence_does_not_see_the_others_that_share_its_lanes():
    inputs = make_inputs(20, batch=4) | {"resets_BT": make_resets(4, 20, 7)}
    before = outputs_and_gradients(attend, inputs)
    inputs["resets_BT"] = make_resets(4, 20, 12)
    inputs["key_BTI"][0] += 1
    after = outputs_and_gradients(attend, inputs)
    for name in before:
        assert torch.equal(before[name][1:], after[name][1:]), name
    for name in ("output 0", "gradient of query_BTI", "gradient of key_BTI", "gradient of value_BTI"):
        assert not torch.equal(before[name][0], after[name][0]), name


def test_strided_inputs_give_the_same_bits():
    inputs = make_inputs(33)
    strided = {name: torch.stack([tensor, tensor], dim=-1)[..., 0] for name, tensor in inputs.items()}
    expected, got = outputs_and_gradients(attend, inputs), outputs_and_gradients(attend, strided)
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_any_number_of_threads_gives_the_same_bits(num_threads):
    inputs = make_inputs(2 * BLOCK_TOKENS + 40, batch=3, heads=LANES)
    found = []
    for threads in (1, 2, 3, 5):
        num_threads(threads)
        found.append(outputs_and_gradients(attend, inputs, heads=LANES))
    assert all(torch.equal(found[0][name], other[name]) for other in found[1:] for name in other)


def test_gradients_are_those_of_finite_differences():
    inputs = make_inputs(7, heads=2, numbers=2, window=3, dtype=torch.float64)

    def read(*tensors):
        return attend(*tensors, heads=2, window=3, num_valid=1, resets_BT=make_resets(BATCH, 7, 5), backend="numba")

    assert torch.autograd.gradcheck(read, [tensor.requires_grad_() for tensor in inputs.values()])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_of_large_scores_the_largest_takes_all_and_equal_ones_share(dtype):
    inputs = make_inputs(20, numbers=4, dtype=dtype)
    # Whole numbers, and sqrt(d) = 2: the scores are exact, so that the backends agree on which are equal.
    inputs |= {name: inputs[name].round() for name in ("key_BTI", "keys_BWI")}
    inputs["query_BTI"] = inputs["query_BTI"].round() * 2**13
    assert_backend_equals_reference("numba", inputs, dtype)


def test_nan_is_not_hidden():
    inputs = make_inputs(20)
    inputs["key_BTI"][0, 9, 0] = torch.nan
    read_BTI, _, _ = attend(**inputs)
    assert read_BTI[0, 9 : 9 + WINDOW, :NUMBERS].isnan().all()
    assert read_BTI[0, :9].isfinite().all()
    assert read_BTI[0, 9 + WINDOW :].isfinite().all()
    assert read_BTI[1].isfinite().all()


def test_a_ring_may_be_wider_in_type_than_the_tokens():
    inputs = make_inputs(6)
    for name in ("query_BTI", "key_BTI", "value_BTI"):
        inputs[name] = inputs[name].bfloat16()
    read_BTI, keys_BWI, _ = attend(**inputs)
    assert read_BTI.dtype == torch.bfloat16
    assert keys_BWI.dtype == torch.float32
    assert_backend_equals_reference("numba", inputs, torch.bfloat16)


def test_what_is_kept_for_the_backward_pass_does_not_grow_with_the_window():
    kept = []
    for window in (4, 64):
        sizes = []
        query, key, value = (x.requires_grad_() for x in make_inputs(128, cache=False).values())
        with torch.autograd.graph.saved_tensors_hooks(lambda x, sizes=sizes: sizes.append(x.numel()) or x, lambda x: x):
            windowed_attention(query, key, value, heads=HEADS, window=window)
        kept.append(sum(sizes))
    assert kept[0] == kept[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key_BTI": torch.ones(BATCH, 2, HEADS * NUMBERS)}, r"key_BTI has shape \[2, 2, 15\]; wanted \[2, 3, 15\]"),
        ({"values_BWI": torch.ones(BATCH, 2, HEADS * NUMBERS)}, r"values_BWI has shape \[2, 2, 15\]; wanted"),
        ({"heads": 4}, "4 heads for 15 numbers; wanted a divisor"),
    ],
)
def test_what_does_not_belong_together_is_refused(change, message, monkeypatch):
    monkeypatch.setitem(attend.__globals__, "windowed_attention", inspect.unwrap(windowed_attention))
    with pytest.raises(ValueError, match=message):
        attend(**make_inputs(3) | change)


def test_checkpointed_activations_give_the_same_bits():
    inputs = make_inputs(20)

    def recomputed(**tensors):
        return checkpoint(attend, *tensors.values(), use_reentrant=False)

    expected, got = outputs_and_gradients(attend, inputs), outputs_and_gradients(recomputed, inputs)
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_operators_are_registered_correctly():
    forward = [tensor.requires_grad_() for tensor in make_inputs(6, window=4).values()]
    others = (torch.tensor([4, 2]), make_resets(BATCH, 6, 3))
    torch.library.opcheck(torch.ops.mambrane.windowed_attention, (*forward, *others, HEADS, 4))
    forward = [tensor.detach() for tensor in forward]
    read_BTI, sums_GT2L = torch.ops.mambrane.windowed_attention(*forward, *others, HEADS, 4)
    torch.library.opcheck(
        torch.ops.mambrane.windowed_attention_backward,
        (read_BTI, *forward, *others, sums_GT2L, HEADS, 4),
        test_utils=("test_schema", "test_faketensor", "test_aot_dispatch_dynamic"),
    )
