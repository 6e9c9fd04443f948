"""Pairs of spikes: sums over every pair, for the kernel and the reference alike."""

import math

import pytest
import torch

from mambrane.core.seeding import make_generator
from mambrane.ops.spike_pairs import spike_pairs
from tests.ops.tolerances import RATIO, assert_close

DECAYS = {"decay_plus": 0.8, "decay_minus": 0.9}
HIGH = {"high_x": 0.9, "high_y": 1.3}


def make_inputs(batch=2, tokens=33, pre=5, post=21, rate=0.2, dtype=torch.float32, synapses=2):
    generator = make_generator(0, "spike pairs")
    inputs = {
        name: [(torch.rand(batch, tokens, units, generator=generator) < rate).to(dtype) for _ in range(synapses)]
        for name, units in (("pre", pre), ("post", post))
    }
    masks = {"resets_BT": 0.1, "counted_BT": 0.8}
    return inputs | {name: torch.rand(batch, tokens, generator=generator) < share for name, share in masks.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "sizes",
    [(1, 1, 1, 1), (2, 33, 5, 21), (3, 70, 130, 64), (1, 40, 16, 150)],
    ids=lambda sizes: "x".join(map(str, sizes)),
)
def test_kernel_equals_reference(sizes, dtype):
    inputs = make_inputs(*sizes, dtype=dtype)
    reference, got = (spike_pairs(**inputs, **DECAYS, **HIGH, backend=backend) for backend in ("reference", "numba"))
    for name in ("causal_NUS", "acausal_NUS"):
        assert_close(name, getattr(reference, name), getattr(got, name), RATIO[dtype])
    assert torch.equal(reference.both_high_NUS, got.both_high_NUS)
    assert sizes == (1, 1, 1, 1) or (got.both_high_NUS > 0).any()


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_sums_are_those_of_a_loop_over_all_pairs(backend):
    inputs = make_inputs(1, 40, 3, 4, dtype=torch.float64, synapses=1)
    pairs = spike_pairs(**inputs, **DECAYS, backend=backend)
    document_T = inputs["resets_BT"][0].cumsum(0)
    counted_T1 = inputs["counted_BT"][0].unsqueeze(-1)
    causal, acausal = torch.zeros(4, 3, dtype=torch.float64), torch.zeros(4, 3, dtype=torch.float64)
    for t_pre, s in (inputs["pre"][0][0] * counted_T1).nonzero().tolist():
        for t_post, u in (inputs["post"][0][0] * counted_T1).nonzero().tolist():
            if document_T[t_pre] != document_T[t_post]:
                continue
            if t_pre <= t_post:
                causal[u, s] += 0.8 ** (t_post - t_pre)
            else:
                acausal[u, s] += 0.9 ** (t_pre - t_post)
    torch.testing.assert_close(pairs.causal_NUS[0], causal, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(pairs.acausal_NUS[0], acausal, rtol=1e-12, atol=1e-12)
    assert causal.any()
    assert acausal.any()


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_units_are_both_high_while_both_traces_are_above_their_thresholds(backend):
    pre, post = torch.zeros(1, 6, 1), torch.zeros(1, 6, 1)
    pre[0, 1], post[0, 2] = 1.0, 1.0
    # The presynaptic trace is 1, 0.5, 0.25 from tick 1 on, the postsynaptic one from tick 2 on: both above at 2 and 3.
    options = {"decay_plus": 0.5, "decay_minus": 0.5, "high_x": 0.2, "high_y": 0.2, "backend": backend}
    assert spike_pairs([pre], [post], **options).both_high_NUS.item() == 2.0
    counted = torch.tensor([[True, True, True, False, True, True]])
    assert spike_pairs([pre], [post], counted_BT=counted, **options).both_high_NUS.item() == 1.0
    assert spike_pairs([pre], [post], **options | {"high_y": math.inf}).both_high_NUS.item() == 0.0


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_synapses_are_counted_apart(backend):
    inputs = make_inputs(2, 33, 20, 150, synapses=3)
    together = spike_pairs(**inputs, **DECAYS, **HIGH, backend=backend)
    for n in range(3):
        alone = spike_pairs(
            **inputs | {"pre": [inputs["pre"][n]], "post": [inputs["post"][n]]}, **DECAYS, **HIGH, backend=backend
        )
        assert all(torch.equal(sums[n], own[0]) for sums, own in zip(together, alone, strict=True))


def test_silence_adds_nothing():
    inputs = make_inputs() | {"pre": [torch.zeros(2, 33, 5)] * 2}
    assert not any(sums.any() for sums in spike_pairs(**inputs, **DECAYS, **HIGH))


def test_any_strides_give_the_numbers_of_their_copies():
    inputs = make_inputs(2, 9, 32, 32)
    strided = inputs | {"pre": [each.transpose(0, 1).contiguous().transpose(0, 1) for each in inputs["pre"]]}
    strided["resets_BT"] = torch.cat([inputs["resets_BT"]] * 2, dim=1)[:, :9]
    for copied, found in zip(spike_pairs(**inputs, **DECAYS), spike_pairs(**strided, **DECAYS), strict=True):
        assert torch.equal(copied, found)


def test_any_number_of_threads_gives_the_same_bits(num_threads):
    inputs = make_inputs(4, 200, 96, 300)
    found = []
    for threads in (1, 2, 3):
        num_threads(threads)
        found.append(spike_pairs(**inputs, **DECAYS, **HIGH))
    assert all(torch.equal(*pair) for other in found[1:] for pair in zip(found[0], other, strict=True))
