"""The LTC kernels against the reference, and what a liquid cell promises."""

import pytest
import torch

import mambrane.ops.ltc.numba_cpu  # noqa: F401 -- registers torch.ops.mambrane.ltc
from mambrane.ops.ltc import LtcWeights, ltc
from tests.ops.liquid_claims import BATCH, INPUTS, UNITS, LiquidCellClaims, make_resets


class TestLtc(LiquidCellClaims):
    @staticmethod
    def run(x_BTI, state_BL, elapsed_BT, resets_BT=None, backend="auto", **weights):
        return ltc(
            x_BTI,
            LtcWeights(**weights),
            state_BL=state_BL,
            resets_BT=resets_BT,
            elapsed_BT=elapsed_BT,
            backend=backend,
        )

    @staticmethod
    def make_weights(normal, uniform, *, inputs, units):
        weights = {"input_weight": uniform(0.5, 1.5, inputs), "input_bias": normal(inputs) * 0.1}
        for side, pre in (("sensory_", inputs), ("", units)):
            weights |= {
                f"{side}w": uniform(0.001, 1.0, pre, units),
                f"{side}mu": uniform(0.3, 0.8, pre, units),
                f"{side}sigma": uniform(3.0, 8.0, pre, units),
                f"{side}erev": normal(pre, units).sign(),
            }
        membrane = {"cm": uniform(0.4, 0.6, units), "gleak": uniform(0.001, 1.0, units)}
        return weights | membrane | {"vleak": uniform(-0.2, 0.2, units)}

    def test_a_wrong_weight_is_refused_with_both_shapes(self):
        inputs = self.make_inputs(5)
        inputs["sensory_mu"] = inputs["sensory_mu"].T.contiguous()
        with pytest.raises(ValueError, match=r"sensory_mu has shape \[7, 5\]; wanted \[5, 7\]"):
            self.run(**inputs, backend="numba")

    @pytest.mark.parametrize("backend", ["reference", "numba"])
    def test_almost_no_time_leaves_the_state_where_it_was(self, backend):
        inputs = self.make_inputs(3)
        inputs["elapsed_BT"] = torch.full_like(inputs["elapsed_BT"], 1e-9)
        hidden_BTL, _ = self.run(**inputs, backend=backend)
        torch.testing.assert_close(hidden_BTL, inputs["state_BL"][:, None].expand_as(hidden_BTL))

    def test_no_elapsed_time_means_one_bit_for_bit(self):
        inputs = self.make_inputs(20)
        absent = self.run(**inputs | {"elapsed_BT": None})
        given = self.run(**inputs | {"elapsed_BT": torch.ones(BATCH, 20)})
        assert all(torch.equal(a, b) for a, b in zip(absent, given, strict=True))

    def test_a_cell_without_synapses_relaxes_to_its_resting_state(self):
        inputs = self.make_inputs(200)
        inputs |= {name: torch.zeros_like(inputs[name]) for name in ("w", "sensory_w")}
        inputs["gleak"] = torch.ones_like(inputs["gleak"])
        _, state_BL = self.run(**inputs)
        torch.testing.assert_close(state_BL, inputs["vleak"].expand_as(state_BL))

    def test_operators_are_registered_correctly(self):
        inputs, tokens = self.make_inputs(4), 4
        arguments = (
            inputs["x_BTI"],
            inputs["state_BL"],
            inputs["elapsed_BT"],
            torch.stack([inputs[f"sensory_{name}"] for name in ("w", "mu", "sigma", "erev")]),
            torch.stack([inputs[name] for name in ("w", "mu", "sigma", "erev")]),
            torch.stack([inputs[name] for name in ("cm", "gleak", "vleak")]),
        )
        arguments = (*(each.requires_grad_() for each in arguments), make_resets(tokens, 2))
        torch.library.opcheck(torch.ops.mambrane.ltc, (*arguments, True))
        hidden_BTL, *kept = torch.ops.mambrane.ltc(*arguments, True)
        torch.library.opcheck(
            torch.ops.mambrane.ltc_backward,
            tuple(each.detach() for each in (hidden_BTL, *arguments, hidden_BTL, *kept)),
            test_utils=("test_schema", "test_faketensor", "test_aot_dispatch_dynamic"),
        )

    def test_nothing_is_kept_where_no_gradient_is_wanted(self):
        arguments = (torch.ones(BATCH, 4, INPUTS), torch.ones(BATCH, UNITS), torch.ones(BATCH, 4, 1))
        weights = (torch.ones(4, INPUTS, UNITS), torch.ones(4, UNITS, UNITS), torch.ones(3, UNITS))
        _, before_BTKL, conductance_BTKL = torch.ops.mambrane.ltc(*arguments, *weights, make_resets(4), False)
        assert before_BTKL.numel() == conductance_BTKL.numel() == 0
