"""What a model is measured by."""

from dataclasses import replace

from mambrane.continual.measure import BITS_PER_BYTE, Measurement
from tests.measured import Loss


def test_a_loss_is_its_own_sign_and_an_accuracy_is_turned_into_one():
    assert BITS_PER_BYTE.sign == 1.0
    assert replace(BITS_PER_BYTE, is_lower_better=False).sign == -1.0


def test_a_measurement_is_whatever_has_a_value_and_details():
    assert isinstance(Loss(2.0, 4.0), Measurement)
    assert not isinstance(2.0, Measurement)
