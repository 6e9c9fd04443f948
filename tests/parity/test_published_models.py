"""Models of transformers and of ours are one model in two formats, in both directions: logits agree."""

import pytest
import torch

from mambrane.data.tokenizer import BytesTokenizer
from mambrane.models.config import ModelConfig
from mambrane.models.language_model import LanguageModel
from mambrane.models.pretrained import write_model_folder
from mambrane.models.published_names import published_name, published_settings

transformers = pytest.importorskip("transformers", reason="pip install -r requirements/parity.txt")
pytestmark = pytest.mark.peer

SHAPES = {
    "mamba": ("Mamba", {"hidden_size": 48, "state_size": 8}),
    "mamba untied": ("Mamba", {"hidden_size": 32, "state_size": 4, "tie_word_embeddings": False}),
    "mamba of another rank and width": (
        "Mamba",
        {"hidden_size": 40, "state_size": 5, "time_step_rank": 7, "expand": 3},
    ),
    "mamba without conv bias": (
        "Mamba",
        {"hidden_size": 32, "state_size": 4, "use_conv_bias": False, "conv_kernel": 3},
    ),
    "mamba2": ("Mamba2", {"hidden_size": 64, "num_heads": 2, "head_dim": 64, "n_groups": 1}),
    "mamba2 of small heads, tied": (
        "Mamba2",
        {"hidden_size": 32, "num_heads": 4, "head_dim": 16, "n_groups": 1, "tie_word_embeddings": True},
    ),
    "mamba2 of two groups": ("Mamba2", {"hidden_size": 32, "num_heads": 8, "head_dim": 8, "n_groups": 2}),
}
VOCAB_SIZE = 97


def theirs_of(name):
    family, options = SHAPES[name]
    more = {"state_size": 8, "chunk_size": 16, "use_cache": False} if family == "Mamba2" else {}
    config = getattr(transformers, f"{family}Config")(vocab_size=VOCAB_SIZE, num_hidden_layers=2, **{**more, **options})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
        with torch.no_grad():
            # Away from values at which a missing factor or bias would not show.
            for parameter in model.parameters():
                if parameter.dim() == 1:
                    parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def tokens(vocab_size):
    return torch.randint(0, vocab_size, (2, 37), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", SHAPES)
@torch.no_grad()
def test_a_folder_of_theirs_opens_here_with_their_logits(name, tmp_path):
    theirs = theirs_of(name)
    theirs.save_pretrained(tmp_path)
    ours = LanguageModel.from_pretrained(tmp_path).eval()
    expected = theirs(tokens(VOCAB_SIZE)).logits
    assert (ours(tokens(VOCAB_SIZE)).logits_BTV - expected).abs().max() < 1e-5 * expected.abs().max()


OURS = {
    "mamba": {"block_pattern": "mamba", "mamba_d_state": 5, "mamba_expand": 3, "mamba_dt_rank": 4},
    "mamba untied": {"block_pattern": "mamba", "tie_embeddings": False, "vocab_size": 264},
    "mamba2": {"block_pattern": "mamba2", "mamba_head_dim": 16, "mamba_groups": 2, "tie_embeddings": False},
}


@pytest.mark.parametrize("name", OURS)
@torch.no_grad()
def test_a_pure_mamba_of_ours_opens_there_with_our_logits_and_tokens(name, tmp_path):
    tokenizer = BytesTokenizer()
    config = ModelConfig(hidden_dim=32, num_layers=2, **OURS[name])
    ours = LanguageModel(config, tokenizer.vocab_size, torch.Generator().manual_seed(0)).eval()
    settings = published_settings(config, ours.vocab_size, end_of_text=tokenizer.end_of_text)
    weights = {published_name(name): value for name, value in ours.state_dict().items()}
    write_model_folder(tmp_path, settings, weights, tokenizer=tokenizer)
    theirs, told = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    expected = ours(tokens(257)).logits_BTV
    assert (theirs.eval()(tokens(257), use_cache=False).logits - expected).abs().max() < 1e-5 * expected.abs().max()
    text = "def hé(x):\n    return 1\n"
    their_tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert their_tokenizer(text)["input_ids"] == tokenizer.encode(text.encode()).tolist()
    assert their_tokenizer.eos_token_id == tokenizer.end_of_text
