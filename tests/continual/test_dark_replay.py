"""Claims about dark replay: the formula, which rows it holds to what, and that it can be left and taken up anywhere."""

import pytest
import torch
from torch.nn import functional

from mambrane.continual import chunked_logits
from mambrane.continual.dark_replay import DarkReplay, top_divergence
from mambrane.core.errors import UserError
from mambrane.settings.methods import methods_of
from tests.continual.beside_replay import TwoTasks, config_with, ends_of_a_run_that_is_left, same
from tests.continual.conftest import VOCAB_SIZE

ON = {"dark_replay_strength": 0.5, "dark_replay_top_k": 3}


def predictions(k: int) -> tuple[torch.Tensor, ...]:
    """Return hidden states, the head, and the k likeliest tokens of other hidden states."""
    torch.manual_seed(0)
    x_ND, other_ND, weight_VD = (torch.randn(size, 8, dtype=torch.float64) for size in (10, 10, VOCAB_SIZE))
    top = (other_ND @ weight_VD.T).log_softmax(1).topk(k)
    return x_ND.requires_grad_(), weight_VD, top.indices, top.values, other_ND


@pytest.mark.parametrize("chunk_logits", [3 * VOCAB_SIZE, chunked_logits.CHUNK_LOGITS])
def test_with_every_token_it_is_the_whole_divergence_and_so_is_its_gradient(chunk_logits: int, monkeypatch):
    monkeypatch.setattr(chunked_logits, "CHUNK_LOGITS", chunk_logits)
    x_ND, weight_VD, tokens_NK, stored_NK, other_ND = predictions(VOCAB_SIZE)
    counted_N = torch.arange(10) != 4
    whole = functional.kl_div(
        (x_ND @ weight_VD.T).log_softmax(1), (other_ND @ weight_VD.T).softmax(1), reduction="none"
    ).sum(1)[counted_N]
    got = top_divergence(x_ND, weight_VD, tokens_NK, stored_NK, counted_N=counted_N)
    torch.testing.assert_close(got, whole.sum())
    torch.testing.assert_close(*(torch.autograd.grad(each, x_ND)[0] for each in (got, whole.sum())))


def test_fewer_tokens_bound_the_divergence_from_below_and_none_is_left_where_nothing_moved():
    x_ND, weight_VD, *_ = predictions(1)
    every_N = torch.ones(10, dtype=torch.bool)
    found = []
    for k in (1, 4, VOCAB_SIZE):
        _, _, tokens_NK, stored_NK, other_ND = predictions(k)
        found.append(top_divergence(x_ND, weight_VD, tokens_NK, stored_NK, counted_N=every_N).item())
        unmoved = top_divergence(other_ND, weight_VD, tokens_NK, stored_NK, counted_N=every_N)
        assert unmoved.item() == pytest.approx(0.0, abs=1e-9)
    assert 0 < found[0] < found[1] < found[2]


def test_predictions_of_the_step_that_first_read_a_sequence_stand_beside_it(build_model):
    run = TwoTasks(build_model, config_with(**ON))
    run.trainer.begin_task(6)
    first = dict(run.model.state_dict())
    first = {name: weight.clone() for name, weight in first.items()}
    next(run.trainer.steps(run.loaders[0]))
    replay, dark = (run.extensions.by_name()[name] for name in ("replay", "dark_replay"))
    assert replay.buffer.size == 4
    batch = replay.buffer.read(torch.arange(4))
    run.model.load_state_dict(first)
    log_probabilities_BTV = run.model(batch.inputs_BT, resets_BT=batch.resets_BT).logits_BTV.log_softmax(-1)
    state = dark.state_dict()
    order = replay.buffer.places_of(state["fingerprints"])
    expected_BTK = log_probabilities_BTV[order].topk(3).values
    torch.testing.assert_close(state["log_probabilities"].float(), expected_BTK, atol=5e-3, rtol=0)


def test_there_is_a_term_once_old_text_comes_back_and_it_holds_predictions(build_model):
    run = TwoTasks(build_model, config_with(**ON)).first_task()
    assert all("dark_replay" not in numbers or numbers["dark_replay"] == 0 for numbers in run.numbers)
    run.second_task()
    assert all(numbers["dark_replay"] > 0 for numbers in run.numbers[-6:])
    assert run.numbers[-1]["dark_replay/sequences_with_predictions"] == 12


def test_strength_zero_equals_off_bit_for_bit_and_each_strength_differs(build_model):
    def end(**settings):
        return TwoTasks(build_model, config_with(**settings)).first_task().second_task().weights()

    off, alpha, beta = end(), end(**ON), end(replay_label_strength=0.5)
    assert DarkReplay not in methods_of(config_with(dark_replay_strength=0.0, replay_label_strength=1.0))
    zero = TwoTasks(build_model, config_with(**ON))
    zero.extensions.by_name()["dark_replay"].config = config_with().continual
    assert same(off, zero.first_task().second_task().weights())
    assert not any(same(one, other) for one, other in ((off, alpha), (off, beta), (alpha, beta)))


def test_a_run_that_is_left_and_taken_up_ends_bit_for_bit_the_same(build_model):
    assert same(*ends_of_a_run_that_is_left(build_model, config_with(**ON, replay_label_strength=0.7)))


def test_predictions_follow_their_sequences_into_a_smaller_buffer_and_more_of_each_cannot_be_had(build_model):
    saved = TwoTasks(build_model, config_with(**ON)).first_task().extensions.state_dict()
    smaller = TwoTasks(build_model, config_with(**ON, replay_buffer_size=5))
    smaller.extensions.load_state_dict(saved)
    dark, replay = (smaller.extensions.by_name()[name] for name in ("dark_replay", "replay"))
    assert torch.equal(dark.state_dict()["fingerprints"], replay.buffer.fingerprints)
    fewer = TwoTasks(build_model, config_with(dark_replay_strength=0.5, dark_replay_top_k=2))
    fewer.extensions.load_state_dict(saved)
    kept, all_kept = fewer.extensions.state_dict()["dark_replay"], saved["dark_replay"]
    order = [all_kept["fingerprints"].tolist().index(each) for each in kept["fingerprints"].tolist()]
    assert torch.equal(kept["tokens"], all_kept["tokens"][order][..., :2])
    more = TwoTasks(build_model, config_with(dark_replay_strength=0.5, dark_replay_top_k=4))
    with pytest.raises(UserError, match="3 next tokens were kept"):
        more.extensions.load_state_dict(saved)


def test_the_memory_of_the_predictions_is_told_beforehand(build_model):
    config = config_with(**ON)
    dark = TwoTasks(build_model, config).first_task().extensions.by_name()["dark_replay"]
    state = dark.state_dict()
    taken = sum(state[name].nbytes for name in ("tokens", "log_probabilities"))
    assert DarkReplay.kept_bytes(config) == taken == 12 * 20 * 3 * 6
    labels_alone = config_with(**ON | {"dark_replay_strength": 0.0, "replay_label_strength": 0.5})
    dark = TwoTasks(build_model, labels_alone).first_task().extensions.by_name()["dark_replay"]
    assert DarkReplay.kept_bytes(labels_alone) == dark.state_dict()["tokens"].nbytes == 0
