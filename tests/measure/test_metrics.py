"""Held-out loss in bits per byte."""

import importlib
import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mambrane.core.seeding import make_generator
from mambrane.data.tokenizer import BytesTokenizer
from mambrane.data.tokens import token_file_from
from mambrane.engine.objective import next_token_objective
from mambrane.measure.metrics import HeldoutLoss, heldout_loss
from mambrane.models.config import ModelConfig
from mambrane.models.language_model import LanguageModel

CPU = torch.device("cpu")
TOKEN_FILE = token_file_from([b"A spike, then silence. " * 3, "caf\u00e9".encode()], BytesTokenizer())


@pytest.fixture
def model():
    config = ModelConfig(
        hidden_dim=16, num_layers=1, spiking_units=8, use_mamba=True, mamba_d_state=4, num_gate_heads=2
    )
    return LanguageModel(config, 257, make_generator(3, "weights"))


def test_a_uniform_model_needs_log2_of_the_vocabulary_for_each_token(model):
    torch.nn.init.zeros_(model.embedding.weight)
    loss = heldout_loss(model, TOKEN_FILE, sequence_length=16, batch_size=2, device=CPU)
    assert loss.num_targets == TOKEN_FILE.num_tokens
    assert loss.bits_per_byte == pytest.approx(math.log2(257) * TOKEN_FILE.num_tokens / TOKEN_FILE.num_bytes)
    assert loss.perplexity == pytest.approx(257)


@pytest.mark.parametrize("batch_size", [1, 3, 50])
def test_the_batch_size_does_not_change_the_loss(model, batch_size):
    reference = heldout_loss(model, TOKEN_FILE, sequence_length=16, batch_size=2, device=CPU)
    loss = heldout_loss(model, TOKEN_FILE, sequence_length=16, batch_size=batch_size, device=CPU)
    assert loss.num_targets == reference.num_targets
    assert loss.nats_sum == pytest.approx(reference.nats_sum, rel=1e-6)


def test_it_is_the_cross_entropy_of_the_stream_read_at_once(model):
    tokens = torch.tensor(TOKEN_FILE.tokens.astype("int64"))[None]
    targets = tokens.roll(-1, dims=1)
    with torch.no_grad():
        logits = model(tokens, resets_BT=tokens == 256).logits_BTV
    expected = F.cross_entropy(logits[0].double(), targets[0], reduction="sum")
    loss = heldout_loss(model, TOKEN_FILE, sequence_length=tokens.shape[1], batch_size=1, device=CPU)
    assert loss.nats_sum == pytest.approx(expected.item(), rel=1e-6)


def test_it_is_the_same_from_the_logits(model):
    from_logits = heldout_loss(
        model, TOKEN_FILE, sequence_length=16, batch_size=2, device=CPU, objective=next_token_objective
    )
    loss = heldout_loss(model, TOKEN_FILE, sequence_length=16, batch_size=2, device=CPU)
    assert loss.nats_sum == pytest.approx(from_logits.nats_sum, rel=1e-6)


def test_no_logits_of_a_whole_batch_exist_while_it_is_measured(model, monkeypatch):
    """Each tensor that an operation makes is smaller than batch x tokens x vocabulary, once the chunks are."""
    chunked = importlib.import_module("mambrane.ops.linear_cross_entropy.chunked")
    monkeypatch.setattr(chunked, "CHUNK_LOGITS", 8 * 257)

    class Largest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, function, types, arguments=(), options=None):
            result = function(*arguments, **(options or {}))
            tensors = [tensor for tensor in tree_leaves(result) if isinstance(tensor, torch.Tensor)]
            Largest.size = max([Largest.size, *(tensor.numel() for tensor in tensors)])
            return result

    with Largest():
        heldout_loss(model, TOKEN_FILE, sequence_length=16, batch_size=2, device=CPU)
    assert Largest.size < 2 * 16 * 257


def test_evaluating_leaves_no_trace(model):
    model.train()
    torch.manual_seed(7)
    before = torch.get_rng_state()
    heldout_loss(model, TOKEN_FILE, sequence_length=16, batch_size=2, device=CPU)
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_diverged_model_has_infinite_perplexity_and_no_exception():
    assert HeldoutLoss(nats_sum=1e6, num_targets=1, num_bytes=1).perplexity == math.inf
    assert math.isnan(HeldoutLoss(nats_sum=math.nan, num_targets=1, num_bytes=1).bits_per_byte)
