"""Starting kernels, and writing down what would be started."""

import pytest
import torch

from mambrane.kernels.triton.launch import (
    Kernels,
    is_interpreting,
    is_rehearsing,
    options_for,
    power_of_two,
    rehearsal,
    starts_kernel,
)


@pytest.mark.parametrize(("size", "side"), [(0, 1), (1, 1), (2, 2), (3, 4), (16, 16), (17, 32)])
def test_a_tile_has_the_smallest_power_of_two_that_holds_the_size(size, side):
    assert power_of_two(size) == side


def test_a_rehearsal_writes_down_kernel_grid_constants_and_options_and_starts_nothing():
    kernels, x = Kernels("no.such.module"), torch.ones(3, device="meta")
    with rehearsal() as launches:
        assert is_rehearsing()
        kernels.start("forward", (2, 1), x, 3, BLOCK=16, num_warps=1)
        kernels.start("forward", (0, 1), x, 3, BLOCK=16, num_warps=1)
    (launch,) = launches
    assert (launch.module, launch.kernel, launch.grid) == ("no.such.module", "forward", (2, 1))
    assert (launch.constants, launch.options) == ({"BLOCK": 16}, {"num_warps": 1})
    assert not is_rehearsing()


def test_a_rehearsal_inside_another_has_a_list_of_its_own():
    kernels, x = Kernels("no.such.module"), torch.ones(3, device="meta")
    with rehearsal() as outer:
        with rehearsal() as inner:
            kernels.start("inside", (1,), x)
        kernels.start("outside", (1,), x)
    assert [launch.kernel for launch in inner] == ["inside"]
    assert [launch.kernel for launch in outer] == ["outside"]


@pytest.mark.parametrize(("value", "found"), [("1", True), ("True", True), ("0", False), ("", False)])
def test_the_interpreter_is_on_by_tritons_own_variable(monkeypatch, value, found):
    monkeypatch.setenv("TRITON_INTERPRET", value)
    assert is_interpreting() is found


def test_views_and_empty_memory_start_no_kernel():
    aten = torch.ops.aten
    assert starts_kernel(aten.mul.Tensor)
    assert not starts_kernel(aten.view.default)
    assert not starts_kernel(aten.empty.memory_format)


def test_each_make_of_gpus_has_its_options():
    named = {"num_warps": 8, "amd_warps": 4, "maxnreg": 128, "BLOCK": 16}
    assert options_for(named, is_amd=False) == {"num_warps": 8, "maxnreg": 128, "BLOCK": 16}
    assert options_for(named, is_amd=True) == {"num_warps": 4, "BLOCK": 16}
    assert options_for({"num_warps": 8}, is_amd=True) == {"num_warps": 8}
