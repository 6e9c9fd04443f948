"""What autocast makes of products, on a device and played on the meta device."""

import torch
from torch.nn import functional

from mambrane.kernels.autocast import autocast_on_meta, autocast_type, without_autocast

META = torch.device("meta")


def product_type():
    x = torch.ones(2, 3, device="meta")
    return functional.linear(x, torch.ones(4, 3, device="meta")).dtype, (x @ torch.ones(3, 4, device="meta")).dtype


def test_on_a_device_it_is_what_torch_says():
    assert autocast_type("cpu") is None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert autocast_type("cpu") is torch.bfloat16
        with without_autocast(torch.device("cpu")):
            assert autocast_type("cpu") is None


def test_on_the_meta_device_products_are_cast_and_other_functions_are_not():
    with autocast_on_meta(torch.bfloat16):
        assert autocast_type("meta") is torch.bfloat16
        assert product_type() == (torch.bfloat16, torch.bfloat16)
        assert (torch.ones(2, device="meta") * 2).dtype is torch.float32
    assert autocast_type("meta") is None
    assert product_type() == (torch.float32, torch.float32)


def test_it_can_be_kept_out_of_a_part_and_none_casts_nothing():
    with autocast_on_meta(torch.float16):
        with without_autocast(META):
            assert product_type() == (torch.float32, torch.float32)
        assert product_type() == (torch.float16, torch.float16)
    with autocast_on_meta(None):
        assert product_type() == (torch.float32, torch.float32)
