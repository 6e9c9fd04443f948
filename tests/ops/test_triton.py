"""Every Triton form equals its reference: numbers, every gradient, odd lengths, resets, pieces, causality to the bit.

Without a GPU the kernels run in Triton's interpreter (tests/conftest.py), which proves indices, masks and formulas.
"""

import pytest
import torch

from mambrane.core.errors import UserError
from mambrane.core.seeding import make_generator
from mambrane.kernels.triton import launch
from mambrane.ops import explain, spike_pairs
from mambrane.ops.dispatch import OPERATIONS, choose_backend
from tests.ops.gradients import outputs_and_gradients
from tests.ops.tolerances import RATIO, assert_close
from tests.ops.triton_cases import CASES, DEVICE, make_inputs, use_small_blocks

pytest.importorskip("triton", reason="the package triton is not installed (requirements/gpu-test.txt)")

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
FIRST_CASES = {case.operation: case for case in reversed(CASES.values())}
each_operation = pytest.mark.parametrize("case", FIRST_CASES.values(), ids=FIRST_CASES)


@pytest.fixture(autouse=True)
def _quick_interpreter(monkeypatch):
    """The interpreter patches Triton's language at each call of a device function, where the kernel's has done so."""
    from triton.runtime.interpreter import InterpretedFunction

    use_small_blocks(monkeypatch)
    call = InterpretedFunction.__call__

    def call_quickly(self, *given, **named):
        is_ours = self.fn.__module__.startswith("mambrane")
        return self.rewrite()(*given, **named) if is_ours else call(self, *given, **named)

    monkeypatch.setattr(InterpretedFunction, "__call__", call_quickly)


def assert_equals_reference(case, inputs, ratio=None):
    reference = outputs_and_gradients(case.run, inputs, backend="reference")
    got = outputs_and_gradients(case.run, inputs, backend="triton")
    for name in reference:
        assert_close(name, reference[name], got[name], ratio or case.ratio)
    return reference, got


@pytest.mark.parametrize("is_one", [True, False], ids=["one token", ""])
@each_case
def test_numbers_and_every_gradient_are_those_of_the_reference(case, is_one):
    inputs = make_inputs(case, 1 if is_one else case.tokens, resets=True)
    reference, got = assert_equals_reference(case, inputs)
    if case.is_exact:
        assert all(torch.equal(reference[name], got[name]) for name in reference if name.startswith("output"))


@each_case
def test_a_call_without_a_state_starts_from_zero(case):
    inputs = make_inputs(case, 3)
    if case.state:
        del inputs[case.state]
    assert_equals_reference(case, inputs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@each_operation
def test_half_precision_goes_in_and_out_with_float32_inside(case, dtype):
    # The interpreter cuts bfloat16 off where a GPU rounds to the nearest.
    coarser = 2 if dtype == torch.bfloat16 and DEVICE == "cpu" else 1
    coarser *= case.coarser_in_bfloat16 if dtype == torch.bfloat16 else 1
    assert_equals_reference(case, make_inputs(case, 3, dtype), coarser * RATIO[dtype])


@each_operation
def test_a_text_in_pieces_gives_the_numbers_of_the_whole(case):
    inputs = make_inputs(case, case.tokens, resets=True)
    if case.state is None:
        pytest.skip("it has no state")
    whole = case.run(**inputs, backend="triton")
    pieces = []
    for start, stop in ((0, 1), (1, 2), (2, case.tokens)):
        part = {name: each[:, start:stop] if "T" in name else each for name, each in inputs.items()}
        outputs = case.run(**part, backend="triton")
        pieces.append(outputs[0])
        inputs[case.state] = outputs[-1]
    for name, wanted, got in (("numbers", whole[0], torch.cat(pieces, dim=1)), ("state", whole[-1], outputs[-1])):
        assert_close(name, wanted, got, case.ratio)
        assert not case.is_exact or torch.equal(wanted, got)


@each_operation
def test_no_later_token_moves_a_bit_of_an_earlier_one(case):
    inputs, cut = make_inputs(case, case.tokens), case.tokens * 2 // 3
    changed = {name: each.clone() for name, each in inputs.items()}
    for name, each in changed.items():
        if "T" in name:
            each[:, cut:] *= 0.5
    before, after = (case.run(**each, backend="triton")[0] for each in (inputs, changed))
    assert torch.equal(before[:, :cut], after[:, :cut])
    assert not torch.equal(before[:, cut:], after[:, cut:])


@each_operation
def test_equal_inputs_give_equal_bits_however_they_lie_in_memory(case):
    inputs = make_inputs(case, case.tokens, resets=True)
    strided = {name: torch.stack([each, each], dim=-1)[..., 0] for name, each in inputs.items()}
    first, second = (outputs_and_gradients(case.run, each, backend="triton") for each in (inputs, strided))
    assert all(torch.equal(first[name], second[name]) for name in first)


@each_operation
def test_an_output_that_nothing_reads_counts_as_zeros(case):
    inputs = make_inputs(case, 5)
    num_outputs = len(case.run(**inputs, backend="triton"))
    for number in range(num_outputs):
        found = {}
        for backend in ("reference", "triton"):
            leaves = {name: each.detach().requires_grad_() for name, each in inputs.items()}
            output = case.run(**leaves, backend=backend)[number]
            if not output.numel():
                continue
            output.sum().backward()
            found[backend] = {
                name: torch.zeros_like(each) if each.grad is None else each.grad for name, each in leaves.items()
            }
        for name in found.get("reference", {}):
            assert_close(f"{number}: {name}", found["reference"][name], found["triton"][name], case.ratio)


@each_operation
def test_float64_goes_to_another_backend_and_says_so(case):
    inputs = make_inputs(case, 3, torch.float64)
    with pytest.raises(UserError, match="not for float64"):
        case.run(**inputs, backend="triton")
    words = explain(torch.device("cuda"), torch.float64)[case.operation]
    assert "not triton: it is for float32 and bfloat16 and float16, not for float64" in words


def test_every_operation_with_a_triton_form_has_a_case():
    found = {name for name, backends in OPERATIONS.items() if "triton" in backends}
    assert found == {case.operation for case in CASES.values()} | {"spike_pairs"}


def make_spikes(ticks):
    generator = make_generator(0, "spikes")
    pre, post = (
        [(torch.rand(2, ticks, units, generator=generator) < 0.4).float().to(DEVICE) for _ in range(3)]
        for units in (5, 6)
    )
    resets_BT, counted_BT = (torch.rand(2, ticks, generator=generator).to(DEVICE) < part for part in (0.2, 0.8))
    settings = {"decay_plus": 0.8, "decay_minus": 0.7, "high_x": 1.1, "high_y": 0.9}
    return (pre, post), settings | {"resets_BT": resets_BT, "counted_BT": counted_BT}


@pytest.mark.parametrize("ticks", [1, 11])
def test_spike_pairs_are_counted_as_by_the_reference(ticks):
    spikes, options = make_spikes(ticks)
    reference = spike_pairs(*spikes, **options, backend="reference")
    got = spike_pairs(*spikes, **options, backend="triton")
    for name, wanted, found in zip(reference._fields, reference, got, strict=True):
        assert_close(name, wanted, found, RATIO[torch.float32])
    assert torch.equal(reference.both_high_NUS, got.both_high_NUS)


def test_spike_pairs_of_float64_go_to_the_reference():
    (pre, post), options = make_spikes(3)
    with pytest.raises(UserError, match="not for float64"):
        spike_pairs([x.double() for x in pre], [x.double() for x in post], **options, backend="triton")


@each_operation
def test_a_rehearsal_on_the_meta_device_names_the_kernels_that_a_run_starts(case, monkeypatch):
    started = []
    start = launch.Kernels.start

    def watch(self, kernel, grid, *arguments, **named):
        if 0 not in grid and not launch.is_rehearsing():
            started.append((kernel, grid))
        start(self, kernel, grid, *arguments, **named)

    monkeypatch.setattr(launch.Kernels, "start", watch)
    inputs = make_inputs(case, 5, resets=True)
    outputs_and_gradients(case.run, inputs, backend="triton")
    with launch.rehearsal() as launches:
        leaves = {name: each.to("meta").requires_grad_(each.is_floating_point()) for name, each in inputs.items()}
        outputs = case.run(**leaves)
        torch.autograd.backward(outputs, [torch.empty_like(each) for each in outputs])
    assert [(each.kernel, each.grid) for each in launches if each.module] == started
    assert started


def test_kernels_are_part_of_a_compiled_graph(without_type_checks):
    case = CASES["trace, decays"]
    inputs = make_inputs(case, 5)

    def run(x_BTS, decay_S, state_BS):
        return case.run(x_BTS=x_BTS, decay_S=decay_S, state_BS=state_BS, backend="triton")[0] * 2

    # The first call of an operation imports its backend, which is not for a graph.
    expected = run(**inputs)
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(**inputs), expected)


def test_torch_finds_nothing_wrong_with_the_operators():
    inputs = make_inputs(CASES["trace, decays"], 5)
    leaves = [inputs[name].requires_grad_() for name in ("x_BTS", "decay_S", "state_BS")]
    torch.library.opcheck(torch.ops.mambrane.causal_trace_triton.default, (*leaves, None, 0.0, True))


@pytest.mark.skipif(DEVICE == "cuda", reason="there is a GPU")
def test_kernels_on_the_cpu_are_refused_unless_they_are_interpreted(monkeypatch):
    inputs = make_inputs(CASES["lif"], 3)
    monkeypatch.delenv("TRITON_INTERPRET")
    with pytest.raises(UserError, match="it does not run on cpu"):
        choose_backend("lif", torch.device("cpu"), "triton")
    current, decay, state = inputs.values()
    with pytest.raises(RuntimeError, match=r"kernel forward of mambrane.ops.lif.triton_kernels is for a GPU"):
        torch.ops.mambrane.lif_triton(current, decay, state, None, 1.0, True, False, False, 5.0, False)
