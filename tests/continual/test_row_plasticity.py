"""Claims about the plasticity of rows: what agreement does to it, what it does to updates, its controls, restarts."""

import math

import pytest
import torch

from mambrane.continual import row_plasticity
from mambrane.continual.row_plasticity import LEAST, MOST, RowPlasticity
from mambrane.engine.extensions import StepView
from mambrane.settings.methods import methods_of
from tests.continual.beside_replay import TwoTasks, config_with, ends_of_a_run_that_is_left, same

ON = {"use_meta_plasticity": True, "meta_kappa": 0.0, "meta_row_rate": 0.3}


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    monkeypatch.setattr(row_plasticity, "INTERVAL", 2)


def gate_of(build_model, **settings) -> RowPlasticity:
    return TwoTasks(build_model, config_with(**ON, **settings)).extensions.by_name()["row_plasticity"]


def test_rows_learn_from_the_cosine_of_new_and_replayed_gradients(build_model):
    run = TwoTasks(build_model, config_with(**ON)).first_task()
    gate, replay = (run.extensions.by_name()[name] for name in ("row_plasticity", "replay"))
    batch = replay.mix(next(iter(run.loaders[1].epoch_batches())))
    is_old_B = replay.replays(replay.buffer.fingerprints_of(batch))
    assert is_old_B.tolist() == [False, False, True, True]
    view = StepView(run.model, [batch], [], [], num_targets=1, applied_step=1, learning_rate=1.0)
    gate.after_step(view)
    assert not any(each.any() for each in gate.log_alpha.values())
    gate.after_step(view)
    gradients = []
    for rows in (slice(0, 2), slice(2, 4)):
        run.model.zero_grad()
        part = [each[rows] for each in batch]
        run.model(part[0], resets_BT=part[2], targets_BT=part[1]).nats_BT.sum().backward()
        gradients.append(run.model.embedding.weight.grad.clone())
    expected = 0.3 * torch.nn.functional.cosine_similarity(*gradients, dim=1, eps=1e-12)
    torch.testing.assert_close(gate.log_alpha["embedding.weight"], expected.clamp(LEAST, MOST), atol=1e-5, rtol=1e-4)


def test_the_update_of_a_row_is_scaled_and_rows_at_one_keep_their_bits(build_model):
    gate = gate_of(build_model)
    before = {"embedding.weight": torch.rand(17, 16), "norm.weight": torch.rand(16)}
    after = {name: weight + torch.rand(weight.shape) for name, weight in before.items()}
    assert same(gate.gate(before, dict(after)), after)
    gate.log_alpha["embedding.weight"][3] = math.log(0.5)
    gate._prepare_gate()
    gated = gate.gate(before, dict(after))
    assert torch.equal(gated["norm.weight"], after["norm.weight"])
    kept = torch.arange(17) != 3
    assert torch.equal(gated["embedding.weight"][kept], after["embedding.weight"][kept])
    middle = (before["embedding.weight"][3] + after["embedding.weight"][3]) / 2
    torch.testing.assert_close(gated["embedding.weight"][3], middle)


def test_controls_hold_back_as_much_alike_elsewhere_or_learn_nothing(build_model):
    gates = {name: gate_of(build_model, meta_control=name) for name in ("none", "uniform", "permuted")}
    for gate in gates.values():
        gate.log_alpha["embedding.weight"].copy_(torch.linspace(LEAST, MOST, 17))
        gate._prepare_gate()
    alphas = {name: gate._alpha["embedding.weight"] for name, gate in gates.items()}
    assert torch.equal(alphas["permuted"].sort().values, alphas["none"].sort().values)
    assert not torch.equal(alphas["permuted"], alphas["none"])
    assert torch.all(alphas["uniform"] == gates["none"].mean_alpha)
    decay = TwoTasks(build_model, config_with(**ON, meta_control="decay")).first_task().second_task()
    assert not any(each.any() for each in decay.extensions.by_name()["row_plasticity"].log_alpha.values())


def test_rate_zero_is_off_and_any_other_differs(build_model):
    off = config_with(**{**ON, "meta_row_rate": 0.0})
    assert RowPlasticity not in methods_of(off)
    weights = [TwoTasks(build_model, each).first_task().second_task().weights() for each in (off, config_with(**ON))]
    assert not same(*weights)
    zero = TwoTasks(build_model, config_with(**ON))
    zero.extensions.by_name()["row_plasticity"].config = off.plasticity
    assert same(weights[0], zero.first_task().second_task().weights())


def test_looking_draws_nothing_and_leaves_no_gradient(build_model):
    run = TwoTasks(build_model, config_with(**ON), dropout=0.2).first_task().second_task(2)
    state = torch.get_rng_state()
    gate, replay = (run.extensions.by_name()[name] for name in ("row_plasticity", "replay"))
    batch = replay.mix(next(iter(run.loaders[1].epoch_batches())))
    gate._learn(StepView(run.model, [batch], [], [], num_targets=1, applied_step=1, learning_rate=1.0))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(weight.grad is None for weight in run.model.parameters())


def test_a_run_that_is_left_and_taken_up_ends_bit_for_bit_the_same(build_model):
    assert same(*ends_of_a_run_that_is_left(build_model, config_with(**ON)))


def test_the_state_of_another_model_is_refused(build_model):
    other = TwoTasks(build_model, config_with(**ON), hidden_dim=8).extensions.by_name()["row_plasticity"]
    with pytest.raises(ValueError, match="another model"):
        gate_of(build_model).load_state_dict(other.state_dict())
