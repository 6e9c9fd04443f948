"""Memory is handed out so that nothing overlaps, also where instructions write whole vectors."""

import torch

from mambrane.kernels.vectors import LANES
from mambrane.models.token_program import numba_cpu as vp
from mambrane.models.token_program.layout import Layout


def test_constants_stand_where_they_were_placed_and_all_else_is_zero():
    layout = Layout()
    first, second = layout.constant([1.0, 2.0]), layout.constant(torch.full((20,), 3.0))
    empty = layout.space(5)
    memory = layout.memory()
    assert memory[first : first + 2].tolist() == [1.0, 2.0]
    assert memory[second : second + 20].tolist() == [3.0] * 20
    assert memory[empty:].sum() == 0.0
    assert memory.sum() == 63.0


def test_a_vector_has_room_for_whole_vectors_and_a_product_for_whole_panels():
    layout = Layout()
    for size, multiple in ((1, LANES), (LANES, LANES), (LANES + 1, LANES), (1, vp.PANEL_ROWS)):
        start = layout.space(size, multiple=multiple)
        assert layout.space(1) - start >= -(-size // multiple) * multiple


def test_parts_of_the_state_stand_in_the_order_of_their_tensors_and_do_not_overlap():
    layout = Layout()
    layout.state_of(19)
    layout.state_of(19, 3, order=(1, 0))
    layout.state_of(2, 5, 4, order=(0, 2, 1))
    layout.cache_of(7, 6)
    assert [part.shape for part in layout.parts] == [(32,), (3, 32), (2, 4, 16), (7, 6), (7, 6), (7,)]
    ends = [part.start + part.size for part in layout.parts]
    assert all(end <= part.start for end, part in zip(ends, layout.parts[1:], strict=False))
    cleared = {place for start, size in layout.states for place in range(start, start + size)}
    assert all(set(range(part.start, part.start + part.size)) <= cleared for part in layout.parts)


def test_instructions_are_rows_of_one_width():
    layout = Layout()
    layout.emit(vp.ADD, 1, 2, 3, 4)
    assert layout.program().tolist() == [[vp.ADD, 1, 2, 3, 4] + [0] * (vp.INSTRUCTION_NUMBERS - 5)]
