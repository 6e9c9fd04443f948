"""Claims about the importance of each weight for a task, against closed forms."""

from itertools import permutations

import pytest
import torch
from torch import nn

from mambrane.continual.importance import normalised, output_sensitivity, peek_sequences, sampled_fisher
from mambrane.core.seeding import make_generator
from mambrane.data.batch import MicroBatch
from mambrane.data.domains import Domain
from mambrane.data.loader import SequenceLoader
from mambrane.models.state import ModelOutput, ModelState
from tests.continual.conftest import loader_of, move
from tests.ops.tolerances import RATIO, assert_close

CPU = torch.device("cpu")


class Unigram(nn.Module):
    """One score a token, whatever came before: its Fisher information is known in closed form."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.tensor(scores))

    def forward(self, tokens_BT: torch.Tensor, *, resets_BT: torch.Tensor | None = None) -> ModelOutput:
        return ModelOutput(self.scores.expand(*tokens_BT.shape, -1), ModelState(()), ())


def test_fisher_of_sampled_labels_is_the_true_fisher_information():
    # Of one score vector read at n positions: n (diag p - p p^T), whose diagonal is n p (1 - p).
    model = Unigram([0.0, 1.0, -1.0, 0.5])
    positions = torch.zeros(1, 8, dtype=torch.int64)
    targets = positions.clone()
    targets[0, 5:] = -100
    sequence = MicroBatch(positions, targets, positions == 1)
    fisher = sampled_fisher(model, [sequence] * 4000, generator=make_generator(0, "labels"), device=CPU)
    p = model.scores.detach().softmax(dim=0)
    torch.testing.assert_close(fisher["scores"], 5 * p * (1 - p), rtol=0.06, atol=0.0)
    assert model.scores.grad is None


def test_labels_come_from_the_model_and_not_from_the_text():
    model = Unigram([0.0, 1.0, -1.0, 0.5])
    fishers = []
    for target in (0, 2):
        tokens = torch.zeros(1, 8, dtype=torch.int64)
        sequence = MicroBatch(tokens, torch.full_like(tokens, target), tokens == 1)
        fishers.append(sampled_fisher(model, [sequence], generator=make_generator(0, "labels"), device=CPU)["scores"])
    assert torch.equal(*fishers)


def test_sensitivity_is_the_mean_size_of_the_gradient_of_the_squared_logits():
    # Of one score vector read at n positions: |d/ds n |s|^2| = 2 n |s|.
    scores = [0.0, 1.0, -1.0, 0.5]
    tokens = torch.zeros(1, 8, dtype=torch.int64)
    targets = tokens.clone()
    targets[0, 5:] = -100
    sequence = MicroBatch(tokens, targets, tokens == 1)
    got = output_sensitivity(Unigram(scores), [sequence] * 3, generator=make_generator(0, "unused"), device=CPU)
    torch.testing.assert_close(got["scores"], 2 * 5 * torch.tensor(scores).abs())


@pytest.mark.parametrize("estimate", [sampled_fisher, output_sensitivity])
def test_several_sequences_in_a_pass_say_what_each_says_alone(estimate, build_model, domains, monkeypatch):
    model = build_model(dropout=0.5)
    move(model, by=0.1)
    sequences = peek_sequences(loader_of(domains[0]), 7)
    passes = []

    def importance(most):
        monkeypatch.setattr("mambrane.continual.sequence_gradients.SEQUENCES_AT_ONCE", most)
        hook = model.register_forward_hook(lambda *_: passes.append(most))
        found = estimate(model, sequences, generator=make_generator(0, "labels"), device=CPU)
        hook.remove()
        return found

    alone, together = importance(1), importance(3)
    model.checkpoint_activations = True
    checkpointed = importance(3)
    assert passes == [1] * 7 + [3] * (3 + 3)
    assert alone.keys() == together.keys()
    for name in alone:
        assert_close(name, alone[name], together[name], 10 * RATIO[torch.float32])
        assert torch.equal(together[name], checkpointed[name])
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training
    assert model.checkpoint_activations


def test_a_weight_without_information_is_left_free():
    assert normalised({"used": torch.tensor([1.0, 3.0]), "unused": torch.zeros(2)}).keys() == {"used"}


def test_the_order_of_the_parameters_does_not_change_a_bit():
    # Each of the small ones alone is lost beside the large one; both together are not.
    sizes = {"one": 1e-16, "large": 1.0, "other": 1e-16}
    importance = {name: torch.tensor([size], dtype=torch.float64) for name, size in sizes.items()}
    expected = normalised(importance)
    for order in permutations(importance):
        again = normalised({name: importance[name] for name in order})
        assert all(torch.equal(expected[name], again[name]) for name in importance)


def test_a_task_without_text_leans_on_nothing():
    generator = make_generator(0, "labels")
    for estimate in (sampled_fisher, output_sensitivity):
        assert normalised(estimate(Unigram([0.0, 1.0]), [], generator=generator, device=CPU)) == {}


def test_looking_back_leaves_the_loader_where_it_was(domains: list[Domain]):
    loader = SequenceLoader([domains[0].train], sequence_length=20, batch_size=4, seed=0, name="train")
    next(loader.epoch_batches())
    loader.commit()
    before = loader.state_dict()
    sequences = peek_sequences(loader, 7)
    assert [sequence.inputs_BT.shape for sequence in sequences] == [(1, 20)] * 7
    assert loader.state_dict() == before
    rest = next(loader.epoch_batches())
    assert torch.equal(rest.inputs_BT[0], sequences[0].inputs_BT[0])
