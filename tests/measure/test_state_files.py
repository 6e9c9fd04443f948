"""What a model remembers of a text, kept in a file."""

import pytest
import torch

from mambrane.core.errors import UserError
from mambrane.core.seeding import make_generator
from mambrane.measure.state_files import KeptState, hash_of_weights, load_state, require_place, save_state
from mambrane.models.config import ModelConfig
from mambrane.models.language_model import LanguageModel


def make_model(**sizes):
    usual = {"hidden_dim": 16, "num_layers": 2, "spiking_units": 4, "block_pattern": "hybrid,mamba", "use_mamba": True}
    return LanguageModel(ModelConfig(**usual | {"num_gate_heads": 2} | sizes), 11, make_generator(0, "weights"))


def test_a_text_goes_on_from_its_file_with_the_same_bits(tmp_path):
    model, tokens_1T = make_model(), torch.tensor([[3, 1, 4, 1, 5]])
    with torch.inference_mode():
        state = model(tokens_1T).state
        save_state(tmp_path / "text", KeptState(state, [7], hash_of_weights(model)))
        kept = load_state(tmp_path / "text", model)
        next_1T = torch.tensor([kept.unread])
        found, expected = (model(next_1T, state=each).logits_BTV for each in (kept.state, state))
    assert kept.unread == [7]
    assert kept.weights_hash == hash_of_weights(model)
    assert torch.equal(found, expected)


def test_any_changed_weight_changes_the_hash():
    model = make_model()
    before = hash_of_weights(model)
    with torch.no_grad():
        list(model.parameters())[-1].view(-1)[0] += 1
    assert hash_of_weights(model) != before


@pytest.mark.parametrize("sizes", [{"mamba_d_state": 3}, {"block_pattern": "mamba"}, {"num_layers": 3}])
def test_a_model_of_other_sizes_is_refused(tmp_path, sizes):
    model = make_model()
    with torch.inference_mode():
        state = model(torch.tensor([[1, 2]])).state
    save_state(tmp_path / "text", KeptState(state, [], ""))
    with pytest.raises(UserError, match="a model of other"):
        load_state(tmp_path / "text", make_model(**sizes))


@pytest.mark.parametrize("content", [b"", b"no tensors", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_a_file_of_anything_else_is_refused_by_its_name(tmp_path, content):
    (tmp_path / "text").write_bytes(content)
    with pytest.raises(UserError, match=r"--state .*text"):
        load_state(tmp_path / "text", make_model())


def test_a_file_in_which_any_byte_changed_is_refused(tmp_path):
    path, model = tmp_path / "text", make_model()
    with torch.inference_mode():
        state = model(torch.tensor([[1, 2]])).state
    save_state(path, KeptState(state, [7], ""))
    whole = path.read_bytes()
    for place in (len(whole) - 1, len(whole) // 2, whole.index(b"unread") + 12):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(UserError, match=r"--state .*text"):
            load_state(path, model)
    path.write_bytes(whole)
    assert load_state(path, model).unread == [7]


def test_a_place_where_no_file_can_be_is_refused_with_the_reason(tmp_path):
    with pytest.raises(UserError, match="is a folder"):
        require_place(tmp_path)
    with pytest.raises(UserError, match="there is no folder"):
        require_place(tmp_path / "nowhere" / "text")
    require_place(tmp_path / "text")
