"""The arithmetic that a configuration asks for."""

from dataclasses import replace

import pytest
import torch

from mambrane.run.arithmetic import arithmetic_of, evaluating, precision_of
from mambrane.settings.presets import tiny

CPU = torch.device("cpu")


@pytest.mark.parametrize(("asked", "taken"), [("auto", "fp32"), ("fp32", "fp32"), ("bf16", "bf16")])
def test_the_precision_is_the_one_asked_for_and_auto_is_single_on_a_cpu(asked, taken):
    config = tiny()
    assert precision_of(replace(config, engine=replace(config.engine, precision=asked)), CPU) == taken


@pytest.mark.parametrize(("precision", "is_cast"), [("fp32", False), ("bf16", True)])
def test_a_later_measurement_computes_as_the_run_did(precision, is_cast):
    config = tiny()
    with evaluating(replace(config, engine=replace(config.engine, precision=precision)), CPU):
        assert torch.is_autocast_enabled("cpu") is is_cast
    assert not torch.is_autocast_enabled("cpu")


def test_determinism_is_asked_of_torch_inside_the_run_only():
    config = tiny()
    before = torch.are_deterministic_algorithms_enabled()
    with arithmetic_of(replace(config, run=replace(config.run, deterministic=True)), CPU):
        assert torch.are_deterministic_algorithms_enabled()
    assert torch.are_deterministic_algorithms_enabled() is before
