"""The model of a GPU's limits, on kernels made by hand."""

from dataclasses import replace

import pytest
import torch

from mambrane.kernels.triton.launch import Launch
from mambrane.planning.gpu_time import EAGER_START_S, H100, SHORTEST_KERNEL_S, predict
from mambrane.planning.rehearsal import Kernel, Memory, Rehearsal
from mambrane.settings.presets import tiny

CONFIG = tiny()


def of(*kernels: Kernel, tokens: int = 1000) -> Rehearsal:
    return Rehearsal(tokens=tokens, parameters=1, kernels=kernels, saved_bytes=0)


def moving(num_bytes: int) -> Kernel:
    return Kernel("aten::add", "element", 0, (Memory(1, num_bytes),), (Memory(2, 0),))


def test_a_large_copy_takes_as_long_as_the_bandwidth_says_and_a_small_one_the_shortest_time():
    assert predict(CONFIG, of(moving(3 * 10**9))).parts_s == {"bandwidth": pytest.approx(3e9 / H100.bytes_per_s)}
    assert predict(CONFIG, of(moving(8))).device_s == SHORTEST_KERNEL_S


def test_many_small_kernels_wait_for_the_host():
    found = predict(CONFIG, of(*[moving(8)] * 1000))
    assert found.host_s == pytest.approx(1000 * EAGER_START_S)
    assert found.step_s == pytest.approx(CONFIG.engine.accumulation_steps * found.host_s, rel=1e-3)
    assert found.launches == 1000


def test_neighbours_become_one_kernel_when_compiled_and_their_intermediate_never_goes_to_memory():
    size = 3 * 10**9
    chain = [Kernel("aten::mul", "element", 0, (Memory(n, size),), (Memory(n + 1, size),)) for n in range(4)]
    eager, compiled = (predict(CONFIG, of(*chain), compiled=form) for form in (False, True))
    assert (eager.launches, compiled.launches) == (4, 1)
    assert compiled.device_s == pytest.approx(eager.device_s / 4)


def test_a_large_product_reaches_most_of_the_arithmetic_and_a_narrow_one_less():
    wide = Kernel("aten::mm", "product", 10**12, (Memory(1, 2**20),), (Memory(2, 2 * 132 * 128**2),))
    narrow = Kernel("aten::mm", "product", 10**12, (Memory(1, 2**20),), (Memory(2, 2 * 128**2),))
    fast, slow = (predict(CONFIG, of(kernel)).device_s for kernel in (wide, narrow))
    assert 1e12 / H100.matrix_flops_per_s < fast < slow


def test_a_product_outside_autocast_takes_the_rate_of_float32():
    half = Kernel("aten::mm", "product", 10**12, (Memory(1, 2**20),), (Memory(2, 2 * 132 * 128**2),))
    fast, slow = (predict(CONFIG, of(kernel)).device_s for kernel in (half, half._replace(is_float32=True)))
    assert slow / fast == pytest.approx(H100.matrix_flops_per_s / H100.float32_flops_per_s, rel=0.1)


def test_a_scan_takes_the_time_of_its_instructions_in_proportion_to_its_states():
    def scan(tokens: int) -> Kernel:
        launch = Launch("", "chunk_gradients", (1,), (torch.empty(8, tokens, 1024, device="meta"),), {"N": 32}, {})
        return Kernel("selective_scan.chunk_gradients", "ours", 0, (), (), launch=launch)

    short, long = (predict(CONFIG, of(scan(tokens))).parts_s for tokens in (256, 1024))
    assert short.keys() == {"instructions of the scan"}
    assert long["instructions of the scan"] == pytest.approx(4 * short["instructions of the scan"])


def test_the_state_space_form_takes_the_time_of_its_instructions_in_proportion_to_tokens_and_heads():
    def outputs(tokens: int, heads: int) -> Kernel:
        x = torch.empty(8, tokens, heads, 64, device="meta")
        sizes = {"Q": 64, "H": heads, "BLOCK_P": 64, "BLOCK_N": 128, "HEADS": 4}
        return Kernel("ssd.outputs", "ours", 0, (), (), launch=Launch("", "outputs", (1,), (x,), sizes, {}))

    first, *others = (predict(CONFIG, of(outputs(*sizes))).parts_s for sizes in ((256, 8), (1024, 8), (256, 32)))
    (limit,) = first
    assert limit == "instructions of the state-space form"
    assert all(other[limit] == pytest.approx(4 * first[limit]) for other in others)
    macs = 8 * 256 * 8 * (64 * 64 + 64 * 128 + 64 * 128 / 4)
    assert first[limit] > 2 * macs / H100.matrix_flops_per_s


def test_a_step_has_its_micro_batches_and_passes_over_the_weights():
    once, four = (
        predict(replace(CONFIG, engine=replace(CONFIG.engine, accumulation_steps=steps)), of(moving(3 * 10**9)))
        for steps in (1, 4)
    )
    assert four.step_s == pytest.approx(4 * once.step_s, rel=1e-3)
    assert four.tokens_per_s == pytest.approx(once.tokens_per_s, rel=1e-3)
