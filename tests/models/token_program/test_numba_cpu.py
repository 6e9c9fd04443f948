"""Each instruction is its formula, at sizes that fill no whole vector."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mambrane.models.token_program import numba_cpu as vp
from mambrane.models.token_program.layout import Layout
from mambrane.ops.gated_skip import gated_skip
from mambrane.ops.lif import lif

GENERATOR = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(shape, generator=GENERATOR)


def run(layout, times=1):
    memory, program = layout.memory(), layout.program()
    for _ in range(times):
        vp.run_program(memory, program, 0)
    return lambda start, size: torch.from_numpy(memory[start : start + size].copy())


@pytest.mark.parametrize(("rows", "columns", "of"), [(1, 1, 1), (65, 7, 7), (130, 19, 33)])
def test_a_product_reads_the_first_columns_and_skips_zeros(rows, columns, of):
    layout, weight, x, bias = Layout(), normal(rows, of), normal(of), normal(rows)
    x[::3] = 0.0
    place = layout.constant(bias, multiple=vp.PANEL_ROWS)
    out = layout.product_into(layout.matrix(weight), layout.constant(x), rows, columns, bias=place, of=of)
    expected = weight[:, :columns] @ x[:columns] + bias
    torch.testing.assert_close(run(layout)(out, rows), expected, rtol=1e-5, atol=1e-5)


def test_not_a_number_is_no_zero():
    layout = Layout()
    out = layout.product_into(layout.matrix(normal(3, 2)), layout.constant([float("nan"), 0.0]), 3, 2)
    assert run(layout)(out, 3).isnan().all()


def test_gate_skip_sigmoid_and_softplus_are_those_of_torch():
    layout, size = Layout(), 21
    y, x, skip, gate = normal(size), normal(size), normal(size), 30.0 * normal(size)
    places = [layout.constant(values) for values in (y, x, skip, gate)]
    gated, shifted, soft = (layout.space(size) for _ in range(3))
    layout.emit(vp.GATE_SKIP, gated, *places, size)
    layout.emit(vp.SIGMOID, shifted, places[3], layout.constant(0.5), size)
    layout.emit(vp.SOFTPLUS, soft, places[3], places[0], size)
    read = run(layout)
    expected = gated_skip(y[None, None], x[None, None], skip, gate[None, None], backend="reference")[0, 0]
    torch.testing.assert_close(read(gated, size), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(read(shifted, size), 0.5 + gate.sigmoid(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(read(soft, size), F.softplus(gate + y), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("subtracts", [0, 1])
def test_neurons_fire_as_the_operation_says(subtracts):
    layout, size, ticks = Layout(), 19, 7
    current, decay = normal(size).abs(), torch.rand(size, generator=GENERATOR)
    state, spikes = layout.state_of(size), layout.space(size)
    constants = layout.constant(current), layout.constant(decay), state, layout.constant(1.0)
    layout.emit(vp.LIF, spikes, vp.NOWHERE, *constants, subtracts, size)
    expected = lif(current.expand(1, ticks, size), decay, reset="subtract" if subtracts else "zero")
    read = run(layout, ticks)
    assert torch.equal(read(spikes, size), expected.spikes_BTS[0, -1])
    torch.testing.assert_close(read(state, size), expected.state_BS[0])


def test_a_convolution_remembers_its_last_inputs():
    layout, size, taps = Layout(), 18, 3
    weight, x = normal(size, taps), normal(size)
    state, out = layout.state_of(size, taps - 1, order=(1, 0)), layout.space(size)
    layout.emit(
        vp.CONVOLVE, out, layout.constant(x), state, layout.rows(weight.T.contiguous()), vp.NOWHERE, size, taps, 0
    )
    for times, seen in ((1, 1), (2, 2), (3, 3), (4, 3)):
        expected = x * weight[:, taps - seen :].sum(dim=1)
        torch.testing.assert_close(run(layout, times)(out, size), expected, rtol=1e-5, atol=1e-6)


def test_the_mean_of_rows_is_over_rows():
    layout, size = Layout(), 17
    rows, out = normal(3, size), layout.space(size)
    layout.emit(vp.MEAN, out, layout.rows(rows), 3, size)
    torch.testing.assert_close(run(layout)(out, size), rows.mean(dim=0))


def test_an_embedding_is_the_row_of_its_token_in_either_form():
    table = normal(70, 5)
    for is_in_panels in (0, 1):
        layout = Layout()
        out = layout.space(5)
        place = layout.matrix(table) if is_in_panels else layout.constant(table)
        layout.emit(vp.EMBED, out, place, 5, is_in_panels)
        memory, program = layout.memory(), layout.program()
        vp.run_program(memory, program, 66)
        assert (memory[out : out + 5] == table[66].numpy()).all()
        assert memory.dtype == np.float32
