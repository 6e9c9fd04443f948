"""The chunked linear recurrences equal their references: odd lengths, resets, states, every gradient."""

import pytest
import torch

from mambrane.core.seeding import make_generator
from mambrane.ops import causal_trace, choose_backend, selective_scan
from mambrane.ops.recurrence import CHUNK_TOKENS
from tests.ops.gradients import outputs_and_gradients
from tests.ops.tolerances import RATIO, assert_close

BATCH, UNITS, STATES = 2, 5, 3
LENGTHS = [1, 2, CHUNK_TOKENS - 1, CHUNK_TOKENS, CHUNK_TOKENS + 1, 63, 100]
DTYPES = [torch.float32, torch.float64, torch.bfloat16]


def make_inputs(name, tokens, dtype=torch.float32):
    generator = make_generator(0, name)

    def normal(*shape):
        return torch.randn(*shape, generator=generator).to(dtype)

    if name == "causal_trace":
        return causal_trace, {
            "x_BTS": normal(BATCH, tokens, UNITS),
            "decay": normal(UNITS).sigmoid(),
            "state_BS": normal(BATCH, UNITS),
        }
    return selective_scan, {
        "x_BTE": normal(BATCH, tokens, UNITS),
        "delta_BTE": normal(BATCH, tokens, UNITS).exp() * 0.3,
        "A_EN": -normal(UNITS, STATES).exp(),
        "B_BTN": normal(BATCH, tokens, STATES),
        "C_BTN": normal(BATCH, tokens, STATES),
        "state_BEN": normal(BATCH, UNITS, STATES),
    }


def assert_chunked_equals_reference(run, inputs, dtype):
    reference, got = (outputs_and_gradients(run, inputs, backend=backend) for backend in ("reference", "chunked"))
    for name in reference:
        assert_close(name, reference[name], got[name], RATIO[dtype])


each_operation = pytest.mark.parametrize("name", ["causal_trace", "selective_scan"])


@each_operation
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("tokens", LENGTHS)
def test_chunks_give_the_reference_forward_and_backward(name, tokens, dtype):
    run, inputs = make_inputs(name, tokens, dtype)
    assert_chunked_equals_reference(run, inputs, dtype)


@each_operation
@pytest.mark.parametrize("where", [(0,), (CHUNK_TOKENS - 1,), (CHUNK_TOKENS,), (20, 21), (0, 7, 16, 39)], ids=str)
def test_resets_give_the_reference(name, where):
    run, inputs = make_inputs(name, 40)
    resets_BT = torch.zeros(BATCH, 40, dtype=torch.bool)
    resets_BT[1, list(where)] = True
    assert_chunked_equals_reference(run, inputs | {"resets_BT": resets_BT}, torch.float32)


@each_operation
@pytest.mark.parametrize("cut", [1, CHUNK_TOKENS, 23])
def test_pieces_give_the_whole_within_rounding(name, cut):
    run, inputs = make_inputs(name, 40)
    state_name = "state_BS" if name == "causal_trace" else "state_BEN"
    whole, last = run(**inputs, backend="chunked")
    parts, state = [], inputs.pop(state_name)
    for span in (slice(0, cut), slice(cut, None)):
        part = {key: each[:, span] if "T" in key else each for key, each in inputs.items()}
        y, state = run(**part, **{state_name: state}, backend="chunked")
        parts.append(y)
    assert_close("y", whole, torch.cat(parts, dim=1), RATIO[torch.float32])
    assert_close("state", last, state, RATIO[torch.float32])


@each_operation
def test_a_token_changes_no_output_before_it_bit_for_bit(name):
    run, inputs = make_inputs(name, 40)
    key = next(iter(inputs))
    changed = inputs[key].clone()
    changed[:, 21] += 1.0
    before, after = (run(**inputs | {key: x}, backend="chunked")[0] for x in (inputs[key], changed))
    assert torch.equal(before[:, :21], after[:, :21])
    assert not torch.equal(before[:, 21], after[:, 21])


@each_operation
def test_very_fast_decay_forgets_and_stays_finite(name):
    run, inputs = make_inputs(name, 40)
    key, value = ("decay", 0.0) if name == "causal_trace" else ("A_EN", -1e6)
    found = outputs_and_gradients(run, inputs | {key: torch.full_like(inputs[key], value)}, backend="chunked")
    assert all(each.isfinite().all() for each in found.values())


def test_one_decay_for_all_units_gives_the_reference():
    _, inputs = make_inputs("causal_trace", 40)
    for backend in ("reference", "chunked"):
        inputs[backend] = causal_trace(inputs["x_BTS"], 0.7, backend=backend)[0]
    assert_close("trace", inputs["reference"], inputs["chunked"], RATIO[torch.float32])


@each_operation
def test_devices_without_a_kernel_run_chunks_and_the_cpu_its_kernel(name):
    assert choose_backend(name, torch.device("mps")) == "chunked"
    assert choose_backend(name, torch.device("cpu")) == "numba"
