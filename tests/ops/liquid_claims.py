"""What every liquid cell must do; test_cfc.py and test_ltc.py say which cell."""

import pytest
import torch

from mambrane.core.seeding import make_generator
from tests.ops.gradients import outputs_and_gradients
from tests.ops.tolerances import RATIO, assert_close

BATCH, INPUTS, UNITS = 3, 5, 7
DTYPES = [torch.float32, torch.float64, torch.bfloat16]


def make_resets(tokens, *where):
    resets_BT = torch.zeros(BATCH, tokens, dtype=torch.bool)
    resets_BT[0, list(where)] = True
    return resets_BT


class LiquidCellClaims:
    """Claims about the cell that `run(x_BTI, state_BL, elapsed_BT, *, resets_BT, backend, **weights)` calls."""

    @staticmethod
    def run(**arguments):
        raise NotImplementedError

    @staticmethod
    def make_weights(normal, uniform, *, inputs, units):
        raise NotImplementedError

    def make_inputs(self, tokens, *, dtype=torch.float32, batch=BATCH, inputs=INPUTS, units=UNITS, per_unit=True):
        generator = make_generator(0, "liquid")

        def normal(*shape):
            return torch.randn(*shape, generator=generator).to(dtype)

        def uniform(low, high, *shape):
            return (torch.rand(*shape, generator=generator) * (high - low) + low).to(dtype)

        elapsed_shape = (batch, tokens, units) if per_unit else (batch, tokens)
        return {
            "x_BTI": normal(batch, tokens, inputs),
            "state_BL": uniform(-1, 1, batch, units),
            "elapsed_BT": uniform(0.5, 2.0, *elapsed_shape),
            **self.make_weights(normal, uniform, inputs=inputs, units=units),
        }

    def assert_kernel_equals_reference(self, inputs, dtype=torch.float32):
        reference = outputs_and_gradients(self.run, inputs, backend="reference")
        got = outputs_and_gradients(self.run, inputs, backend="numba")
        for name in reference:
            assert_close(name, reference[name], got[name], RATIO[dtype])

    def run_in_pieces(self, cuts, x_BTI, state_BL, elapsed_BT, resets_BT=None, **weights):
        hidden = []
        for start, stop in zip((0, *cuts), (*cuts, x_BTI.shape[1]), strict=True):
            resets = None if resets_BT is None else resets_BT[:, start:stop]
            piece, state_BL = self.run(
                x_BTI[:, start:stop], state_BL, elapsed_BT[:, start:stop], resets_BT=resets, **weights
            )
            hidden.append(piece)
        return torch.cat(hidden, dim=1), state_BL

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    @pytest.mark.parametrize("tokens", [1, 63, 64, 100])
    def test_kernel_equals_reference_forward_and_backward(self, tokens, dtype):
        self.assert_kernel_equals_reference(self.make_inputs(tokens, dtype=dtype), dtype)

    @pytest.mark.parametrize(("inputs", "units"), [(1, 2), (3, 33), (40, 16)])
    def test_any_width_gives_the_reference(self, inputs, units):
        self.assert_kernel_equals_reference(self.make_inputs(9, inputs=inputs, units=units))

    def test_one_elapsed_time_for_all_units_gives_the_reference(self):
        self.assert_kernel_equals_reference(self.make_inputs(20, per_unit=False))

    def test_no_state_means_zero_bit_for_bit(self):
        inputs = self.make_inputs(20)
        absent = self.run(**inputs | {"state_BL": None})
        given = self.run(**inputs | {"state_BL": torch.zeros(BATCH, UNITS)})
        assert all(torch.equal(a, b) for a, b in zip(absent, given, strict=True))

    def test_no_elapsed_time_means_one_forward_and_backward(self):
        inputs = self.make_inputs(20)
        inputs["elapsed_BT"] = torch.ones(BATCH, 20)
        reference = outputs_and_gradients(self.run, inputs, backend="reference")
        del inputs["elapsed_BT"]
        got = outputs_and_gradients(self.run, inputs, backend="numba", elapsed_BT=None)
        for name in got:
            assert_close(name, reference[name], got[name], RATIO[torch.float32])

    @pytest.mark.parametrize("where", [(0,), (17, 18), (0, 30, 39)], ids=str)
    def test_resets_give_the_reference(self, where):
        self.assert_kernel_equals_reference(self.make_inputs(40) | {"resets_BT": make_resets(40, *where)})

    def test_a_reset_equals_a_fresh_start_bit_for_bit(self):
        inputs = self.make_inputs(40)
        whole, state = self.run(**inputs, resets_BT=make_resets(40, 25))
        late = {name: inputs[name][:1, 25:] for name in ("x_BTI", "elapsed_BT")}
        fresh, fresh_state = self.run(**inputs | late | {"state_BL": None})
        assert torch.equal(whole[:1, 25:], fresh)
        assert torch.equal(state[:1], fresh_state)

    def test_no_gradient_passes_a_reset(self):
        inputs = self.make_inputs(10)
        inputs["x_BTI"].requires_grad_()
        hidden_BTL, _ = self.run(**inputs, resets_BT=make_resets(10, 6), backend="numba")
        hidden_BTL[0, 6:].sum().backward()
        assert not inputs["x_BTI"].grad[0, :6].any()
        assert inputs["x_BTI"].grad[0, 6].any()

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    @pytest.mark.parametrize("cuts", [(37,), (1, 2, 30)], ids=str)
    def test_a_split_sequence_equals_the_whole_bit_for_bit(self, cuts, dtype):
        inputs = self.make_inputs(50, dtype=dtype) | {"resets_BT": make_resets(50, 3, 40)}
        whole, pieces = self.run(**inputs), self.run_in_pieces(cuts, **inputs)
        assert torch.equal(whole[0], pieces[0])
        assert torch.equal(whole[1], pieces[1])

    def test_gradients_pass_through_a_split_as_through_the_whole(self):
        inputs = self.make_inputs(30, dtype=torch.float64)
        whole = outputs_and_gradients(self.run, inputs)
        split = outputs_and_gradients(lambda **tensors: self.run_in_pieces((11,), **tensors), inputs)
        for name in whole:
            assert_close(name, whole[name], split[name], RATIO[torch.float64])

    def test_a_later_token_does_not_change_an_earlier_state(self):
        inputs = self.make_inputs(20)
        changed = inputs["x_BTI"].clone()
        changed[:, 12] += 1.0
        before, after = self.run(**inputs)[0], self.run(**inputs | {"x_BTI": changed})[0]
        assert torch.equal(before[:, :12], after[:, :12])
        assert not torch.equal(before[:, 12], after[:, 12])

    def test_strided_inputs_give_the_same_bits(self):
        inputs = self.make_inputs(17)
        strided = {name: torch.stack([tensor, tensor], dim=-1)[..., 0] for name, tensor in inputs.items()}
        assert not strided["x_BTI"].is_contiguous()
        expected, got = outputs_and_gradients(self.run, inputs), outputs_and_gradients(self.run, strided)
        for name in expected:
            assert torch.equal(expected[name], got[name]), name

    def test_any_number_of_threads_gives_the_same_bits(self, num_threads):
        inputs = self.make_inputs(64, batch=5, inputs=16, units=24)
        found = []
        for threads in (1, 2, 3, 5):
            num_threads(threads)
            found.append(outputs_and_gradients(self.run, inputs, backend="numba"))
        for other in found[1:]:
            for name in other:
                assert torch.equal(found[0][name], other[name]), name

    def test_a_row_does_not_depend_on_the_other_rows(self, num_threads):
        num_threads(1)
        inputs = self.make_inputs(20)
        alone = {name: inputs[name][1:2] for name in ("x_BTI", "state_BL", "elapsed_BT")}
        assert_close("row", self.run(**inputs)[0][1:2], self.run(**inputs | alone)[0], RATIO[torch.float32])

    def test_gradients_are_those_of_finite_differences(self):
        inputs = self.make_inputs(4, dtype=torch.float64, batch=2, inputs=2, units=3)
        resets_BT = torch.tensor([[False, False, True, False], [False] * 4])
        leaves = [tensor.requires_grad_() for tensor in inputs.values()]

        def run(*tensors):
            return self.run(**dict(zip(inputs, tensors, strict=True)), resets_BT=resets_BT, backend="numba")

        assert torch.autograd.gradcheck(run, leaves)

    def test_not_a_number_is_not_hidden(self):
        inputs = self.make_inputs(5)
        inputs["x_BTI"][0, 2, 1] = torch.nan
        hidden_BTL, _ = self.run(**inputs, backend="numba")
        assert hidden_BTL[0, 2:].isnan().all()
        assert torch.isfinite(hidden_BTL[1:]).all()
        assert torch.isfinite(hidden_BTL[0, :2]).all()

    def test_mixed_precision_around_the_cell_leaves_it_in_float32(self):
        inputs = self.make_inputs(10)
        expected = self.run(**inputs)[0]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            for backend in ("numba", "reference"):
                assert_close(backend, expected, self.run(**inputs, backend=backend)[0], RATIO[torch.float32])

    def test_a_checkpointed_run_gives_the_same_bits(self):
        inputs = self.make_inputs(9)
        expected = outputs_and_gradients(self.run, inputs)

        def checkpointed(**tensors):
            return torch.utils.checkpoint.checkpoint(self.run, **tensors, use_reentrant=False)

        recomputed = outputs_and_gradients(checkpointed, inputs)
        for name in expected:
            assert torch.equal(expected[name], recomputed[name]), name
