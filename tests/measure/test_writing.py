"""Reading, writing and scoring one text: the numbers of the whole, whatever the pieces; stops; states that go on."""

import math
from collections import deque

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from mambrane.core.errors import UserError
from mambrane.core.seeding import make_generator
from mambrane.data.tokenizer import BytesTokenizer
from mambrane.measure.decoding import CHUNK_TOKENS, LONG_TOKENS, ModelDecoder, ProgramDecoder, decoder_for
from mambrane.measure.sampling import Sampling
from mambrane.measure.scoring import score_lines
from mambrane.measure.state_files import KeptState, hash_of_weights, load_state, save_state
from mambrane.measure.writing import Writing
from mambrane.models.config import ModelConfig
from mambrane.models.language_model import LanguageModel
from tests.models.modes import SMALL

TOKENIZER = BytesTokenizer()
END = TOKENIZER.end_of_text


def model_of(**options):
    config = ModelConfig(**{**SMALL, "spiking_units": 16, "use_mamba": True, "use_cross_attention": True, **options})
    return LanguageModel(config, TOKENIZER.vocab_size, make_generator(0, "weights")).eval()


@pytest.fixture(scope="module")
def model():
    return model_of()


def nats_of_whole(model, tokens):
    """Return -ln p of every token but the first, from one forward pass with the resets of the documents."""
    tokens_1T = torch.tensor([tokens])
    with torch.inference_mode():
        logits = model(tokens_1T, resets_BT=tokens_1T == END).logits_BTV[0].float()
    return F.cross_entropy(logits[:-1], tokens_1T[0, 1:], reduction="none")


@pytest.mark.parametrize("kind", [ModelDecoder, ProgramDecoder])
def test_pieces_cost_what_the_whole_costs(model, kind):
    tokens = [END, *b"one text in pieces ", END, *(b"another one " * 30)]
    assert len(tokens) > CHUNK_TOKENS > LONG_TOKENS
    decoder = kind(model, END)
    decoder.read(tokens[:1])
    nats = decoder.nats(tokens[1:2]) + decoder.nats(tokens[2:40]) + decoder.nats(tokens[40:])
    torch.testing.assert_close(torch.tensor(nats), nats_of_whole(model, tokens), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [ModelDecoder, ProgramDecoder])
def test_a_copy_goes_its_own_way(model, kind):
    decoder = kind(model, END)
    decoder.read([END, 65])
    copy, before = decoder.copy(), decoder.scores()
    copy.read([66, 67])
    assert torch.equal(decoder.scores(), before)
    decoder.read([66, 67])
    assert torch.equal(decoder.scores(), copy.scores())


def test_the_program_writes_what_the_model_writes(model):
    texts = []
    for kind in (ModelDecoder, ProgramDecoder):
        for sampling in (Sampling(), Sampling(temperature=0.0), Sampling(top_k=5), Sampling(top_p=0.7)):
            decoder = kind(model, END)
            decoder.read([END, *b"ab"])
            writing = Writing(decoder, TOKENIZER, [], sampling, make_generator(1, "g"), max_tokens=30)
            texts.append("".join(writing))
    assert texts[:4] == texts[4:]


def test_models_without_a_program_are_read_by_themselves():
    assert isinstance(decoder_for(model_of(), END), ProgramDecoder)
    assert isinstance(decoder_for(model_of(liquid_backbone="cfc"), END), ProgramDecoder)
    assert isinstance(decoder_for(model_of().double(), END), ModelDecoder)


def write(model, prompt=b"", *, seed=0, max_tokens=40, **options):
    decoder = ModelDecoder(model, END)
    decoder.read([END, *prompt])
    sampling = Sampling(temperature=options.pop("temperature", 0.8))
    return Writing(decoder, TOKENIZER, [], sampling, make_generator(seed, "g"), max_tokens=max_tokens, **options)


def test_a_stop_text_ends_the_continuation_before_it_wherever_pieces_end(model):
    whole = "".join(write(model, b"ab"))
    for start in (3, 10, 20):
        for length in (1, 2, 5):
            stop = whole[start : start + length]
            writing = write(model, b"ab", stop=["never in it at all", stop])
            assert "".join(writing) == whole[: whole.index(stop)]
            assert writing.ended_by == "stop"


def test_what_only_looks_like_a_stop_text_is_written(model):
    whole = "".join(write(model, b"ab"))
    assert "".join(write(model, b"ab", stop=[whole[-2:] + "more"])) == whole


def test_an_end_of_text_ends_it_and_is_said():
    model = model_of(tie_embeddings=False)
    decoder = ModelDecoder(model, END)
    decoder.read([END])
    with torch.no_grad():
        # The head of the end-of-text token alone points where the hidden state points.
        hidden = model.hidden_states(torch.tensor([[END]])).hidden_BTD[0, 0]
        model.head.weight.zero_()
        model.head.weight[END] = hidden
    writing = write(model, temperature=0.0)
    assert ("".join(writing), writing.num_tokens, writing.ended_by) == ("", 0, "end_of_text")


@pytest.mark.parametrize(("options", "words"), [({"stop": [""]}, "an empty text"), ({"max_tokens": 0}, "at least 1")])
def test_settings_without_sense_are_refused(model, options, words):
    with pytest.raises(UserError, match=words):
        write(model, **options)


def test_rows_that_no_token_has_are_never_drawn():
    model = model_of(vocab_size=300)
    writing = write(model, max_tokens=60, temperature=50.0)
    assert "".join(writing)
    assert writing.unread[0] < TOKENIZER.vocab_size


def test_a_line_costs_its_bits_whatever_pieces_it_comes_in(model):
    text = b"first line\nsecond line, a longer one\n\nlast"
    nats = nats_of_whole(model, [END, *text])
    scores = list(score_lines(ModelDecoder(model, END), TOKENIZER, text.splitlines(keepends=True)))
    assert [score.text for score in scores] == ["first line", "second line, a longer one", "", "last"]
    assert sum(score.num_bytes for score in scores) == len(text)
    assert sum(score.bits for score in scores) == pytest.approx(nats.sum().item() / math.log(2), rel=1e-4)
    assert scores[0].bits_per_byte == pytest.approx(nats[:11].sum().item() / math.log(2) / 11, rel=1e-4)
    pieces = [b"first", b" line\n", b"second line, a lon", b"ger one\n", b"\n", b"last"]
    again = list(score_lines(ModelDecoder(model, END), TOKENIZER, pieces))
    assert [score.bits for score in again] == pytest.approx([score.bits for score in scores], rel=1e-4)


def test_a_line_is_scored_before_the_next_one_is_there(model):
    asked = deque()

    def lines():
        for line in (b"a\n", b"b\n"):
            asked.append(line)
            yield line

    scores = score_lines(ModelDecoder(model, END), TOKENIZER, lines())
    next(scores)
    assert list(asked) == [b"a\n"]


@pytest.mark.parametrize(
    "options", [{}, {"spike_to_mamba_method": "rate"}, {"block_pattern": "mamba2"}, {"liquid_backbone": "cfc"}]
)
def test_a_state_goes_on_from_a_file_as_if_nothing_had_been_between(tmp_path, options):
    model = model_of(**{**options, "use_cross_attention": not options})
    decoder = decoder_for(model, END)
    decoder.read([END, *b"a text"])
    save_state(tmp_path / "s", KeptState(decoder.state(), [32, 33], hash_of_weights(model)))
    kept = load_state(tmp_path / "s", model)
    assert (kept.unread, kept.weights_hash) == ([32, 33], hash_of_weights(model))
    again = decoder_for(model, END, kept.state)
    for each in (decoder, again):
        each.read([65, 66])
    assert torch.equal(again.scores(), decoder.scores())


def test_a_state_of_another_model_or_a_damaged_one_is_refused(tmp_path, model):
    decoder = ModelDecoder(model, END)
    decoder.read([END])
    save_state(tmp_path / "s", KeptState(decoder.state(), [], "x"))
    with pytest.raises(UserError, match="a model of other"):
        load_state(tmp_path / "s", model_of(hidden_dim=64))
    (tmp_path / "t").write_bytes((tmp_path / "s").read_bytes()[:100])
    with pytest.raises(UserError, match="a file that --state has written"):
        load_state(tmp_path / "t", model)
    save_file({"a": torch.zeros(1)}, tmp_path / "u")
    with pytest.raises(UserError, match="a file that --state has written"):
        load_state(tmp_path / "u", model)
