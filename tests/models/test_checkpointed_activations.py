"""Activations kept or computed again: the same bits, less memory."""

from dataclasses import replace

import pytest
import torch

from mambrane.data.batch import MicroBatch
from mambrane.engine.objective import fused_next_token_objective
from mambrane.run.build import build_model
from mambrane.settings.presets import tiny
from tests.contract.whole_run import CONFIG, domains_of, sit
from tests.engine.tiny_training import training_differences


def gradients_and_bytes(**settings: bool) -> tuple[dict[str, torch.Tensor], int]:
    """Return the gradients of a micro-batch, and how much the forward pass keeps for them."""
    config = tiny()
    config = replace(
        config,
        model=replace(config.model, hidden_dim=32, spiking_units=16, dropout=0.1),
        engine=replace(config.engine, **settings),
    )
    model, kept = build_model(config, 257), {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    tokens = torch.randint(0, 257, (4, 40), generator=torch.Generator().manual_seed(0))
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = fused_next_token_objective(model, MicroBatch(tokens, tokens, tokens == 0)).loss_sum
    loss.backward()
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept_bytes = sum(size for pointer, size in kept.items() if pointer not in weights)
    return {name: parameter.grad for name, parameter in model.named_parameters()}, kept_bytes


def test_the_gradients_are_the_same_bits_and_less_is_kept():
    kept, all_bytes = gradients_and_bytes(checkpoint_activations=False)
    again, few_bytes = gradients_and_bytes(checkpoint_activations=True)
    assert all(torch.equal(kept[name], again[name]) for name in kept)
    assert few_bytes < all_bytes / 3


def test_a_run_with_it_is_the_run_without_it_also_when_it_is_turned_on_after_a_checkpoint(tmp_path):
    plain = replace(CONFIG, run=replace(CONFIG.run, max_steps=5))
    checkpointed = replace(plain, engine=replace(plain.engine, checkpoint_activations=True))
    domains = domains_of(8, 8, 8)
    straight = sit(tmp_path / "plain", domains, config=plain).runner.trainer.state_dict()
    sit(tmp_path / "run", domains, config=replace(plain, run=replace(plain.run, max_steps=2)))
    resumed = sit(tmp_path / "run", domains, config=checkpointed).runner.trainer.state_dict()
    assert training_differences(straight, resumed, besides=["random"]) == []


def test_nothing_runs_again_where_there_is_no_backward_pass(monkeypatch: pytest.MonkeyPatch):
    model, calls = build_model(tiny(), 257), []
    model.checkpoint_activations = True
    monkeypatch.setattr("mambrane.models.language_model.checkpoint", lambda *a, **o: calls.append(a))
    with torch.no_grad():
        model(torch.zeros(1, 3, dtype=torch.int64))
    assert calls == []
