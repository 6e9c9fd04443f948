"""The CfC kernels against the reference, and what a liquid cell promises."""

import pytest
import torch

import mambrane.ops.cfc.numba_cpu  # noqa: F401 -- registers torch.ops.mambrane.cfc
from mambrane.ops.cfc import CfcWeights, cfc
from tests.ops.liquid_claims import BATCH, INPUTS, UNITS, LiquidCellClaims, make_resets

BACKBONE_UNITS = 10


class TestCfc(LiquidCellClaims):
    @staticmethod
    def run(x_BTI, state_BL, elapsed_BT, resets_BT=None, backend="auto", **weights):
        return cfc(
            x_BTI,
            CfcWeights(**weights),
            state_BL=state_BL,
            resets_BT=resets_BT,
            elapsed_BT=elapsed_BT,
            backend=backend,
        )

    @staticmethod
    def make_weights(normal, uniform, *, inputs, units):
        weights = {
            "backbone_weight": normal(BACKBONE_UNITS, inputs + units) / (inputs + units) ** 0.5,
            "backbone_bias": normal(BACKBONE_UNITS),
        }
        for head in ("ff1", "ff2", "time_a", "time_b"):
            weights |= {f"{head}_weight": normal(units, BACKBONE_UNITS) * 0.5, f"{head}_bias": normal(units)}
        return weights

    def test_a_wrong_weight_is_refused_with_both_shapes(self):
        inputs = self.make_inputs(5)
        inputs["time_a_weight"] = inputs["time_a_weight"][:, 1:]
        with pytest.raises(ValueError, match=r"time_a_weight has shape \[7, 9\]; wanted \[7, 10\]"):
            self.run(**inputs, backend="numba")

    def test_more_time_moves_the_state_from_the_first_head_to_the_second(self):
        inputs = self.make_inputs(1)
        inputs["time_a_bias"] += 50.0
        weights = {name: inputs[name] for name in CfcWeights._fields}
        late_BTL, _ = self.run(inputs["x_BTI"], None, torch.full((BATCH, 1), 10.0), **weights)
        swapped = weights | {"ff1_weight": weights["ff2_weight"], "ff1_bias": weights["ff2_bias"]}
        second_BTL, _ = self.run(inputs["x_BTI"], None, None, **swapped)
        torch.testing.assert_close(late_BTL, second_BTL)

    def test_operators_are_registered_correctly(self):
        def random(*shape):
            return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).requires_grad_()

        tokens = 6
        arguments = (
            random(BATCH, tokens, INPUTS),
            random(BATCH, UNITS),
            random(BATCH, tokens, 1),
            random(BACKBONE_UNITS, INPUTS + UNITS),
            random(BACKBONE_UNITS),
            random(4 * UNITS, BACKBONE_UNITS),
            random(4 * UNITS),
            make_resets(tokens, 3),
            True,
        )
        torch.library.opcheck(torch.ops.mambrane.cfc, arguments)
        hidden_BTL, *others = torch.ops.mambrane.cfc(*arguments)
        torch.library.opcheck(
            torch.ops.mambrane.cfc_backward,
            tuple(each.detach() for each in (hidden_BTL, *arguments[:8], hidden_BTL, *others)),
            test_utils=("test_schema", "test_faketensor", "test_aot_dispatch_dynamic"),
        )

    def test_nothing_is_kept_where_no_gradient_is_wanted(self):
        sizes = ((BATCH, 5, INPUTS), (BATCH, UNITS), (BATCH, 5, 1), (BACKBONE_UNITS, INPUTS + UNITS), (BACKBONE_UNITS,))
        operands = [torch.ones(size) for size in (*sizes, (4 * UNITS, BACKBONE_UNITS), (4 * UNITS,))]
        _, *kept = torch.ops.mambrane.cfc(*operands, make_resets(5), False)
        assert all(each.numel() == 0 for each in kept)
