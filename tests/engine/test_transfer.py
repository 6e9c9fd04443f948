"""Numbers brought over from a device."""

import torch

from mambrane.engine.transfer import to_host
from tests.contract.meta_device import META, counted_transfers


def test_every_number_comes_back_under_its_name_in_its_group():
    first, second = to_host({"a": torch.tensor(0.1), "b": 2.0}, {"c": torch.tensor([3])})
    assert first == {"a": torch.tensor(0.1).item(), "b": 2.0}
    assert second == {"c": 3.0}
    assert all(type(number) is float for number in (*first.values(), *second.values()))


def test_all_scalars_of_a_device_are_read_at_once_and_host_numbers_not_at_all():
    with counted_transfers() as transfers:
        scalar = torch.zeros((), device=META)
        to_host({"a": scalar, "b": 1.0}, {"c": scalar.double()}, {"d": scalar.long()})
        to_host({"a": 1.0})
        assert transfers.taken() == {("read", "engine/transfer.py"): 1}
