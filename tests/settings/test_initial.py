"""Weights to start from: taken by name, and of what does not fit every name is said."""

import json

import pytest
import torch

from mambrane import LanguageModel, Run, configure, presets, shaped_like
from mambrane.app.cli import main
from mambrane.core.errors import UserError
from mambrane.core.events import EventLog, read_events
from mambrane.data.subword import trained_bpe
from mambrane.data.tokenizer import BytesTokenizer
from mambrane.models.config import ModelConfig
from mambrane.models.fitting import take_weights
from mambrane.models.pretrained import write_model_folder
from mambrane.models.published_names import published_name, published_settings
from mambrane.run.build import build_model
from mambrane.settings.initial import initial_tokenizer, read_source
from tests.data.idx import write_images
from tests.models.modes import SMALL, VOCAB_SIZE, build_awake, random_tokens
from tests.trained import SIZE


def initial_event(run):
    (event,) = (event for event in read_events(run / "events.jsonl") if event["event"] == "initial_weights")
    return event


def start(source, tmp_path, monkeypatch, *words):
    """Start a run of one step from a model, on text of its own."""
    monkeypatch.setenv("MAMBRANE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "new.txt").write_text("\n".join(f"a new line of text, number {n}" for n in range(300)))
    words = ["--preset", "tiny", "--data", str(tmp_path / "new.txt"), *words, "--max-steps", "1", "--batch-size", "2"]
    output = tmp_path / "run"
    assert main(["train", *words, "--init-from", str(source), "--output-dir", str(output)]) == 0
    return output


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A plain Mamba 2 in transformers' format, with its tokenizer and rows to spare."""
    folder = tmp_path_factory.mktemp("published")
    config = ModelConfig(
        block_pattern="mamba2", hidden_dim=32, num_layers=2, mamba_d_state=8, mamba_head_dim=16, vocab_size=264,
        tie_embeddings=False,
    )  # fmt: skip
    model = LanguageModel(config, 257, torch.Generator().manual_seed(3))
    weights = {published_name(name): value for name, value in model.state_dict().items()}
    write_model_folder(folder, published_settings(config, 264, end_of_text=256), weights, tokenizer=BytesTokenizer())
    return folder


@torch.no_grad()
def test_the_hybrid_around_published_weights_has_their_logits_at_birth(published):
    config = shaped_like(presets.tiny(), str(published))
    assert (config.model.block_pattern, config.model.mamba_version, config.model.use_cross_attention) == (
        "hybrid",
        2,
        True,
    )
    model, source = build_model(config, 257), read_source(str(published))
    fit = take_weights(model, source.weights, same_tokenizer=True, source="x")
    assert fit.left_over == fit.other_shape == ()
    assert "blocks.*.plastic.weight" in fit.sentence("x")
    tokens = torch.randint(0, 257, (2, 21), generator=torch.Generator().manual_seed(0))
    expected = LanguageModel.from_pretrained(published).eval()(tokens).logits_BTV
    assert (model.eval()(tokens).logits_BTV - expected).abs().max() < 1e-5 * expected.abs().max()


def test_a_run_starts_from_published_weights_with_their_sizes_and_tokenizer(published, tmp_path, monkeypatch, capsys):
    output = start(published, tmp_path, monkeypatch)
    told = " ".join(capsys.readouterr().out.split())
    assert f"weights from {published}" in told
    assert "drawn anew: blocks.*.first_bias" in told
    run = Run.open(output)
    assert run.tokenizer.state_dict() == {"kind": "bytes"}
    assert (run.config.model.hidden_dim, run.model.vocab_size, run.config.data.tokenizer) == (32, 264, "init")
    assert json.loads((output / "initial.json").read_text())["content_hash"]
    assert run.evaluate().keys() == {"new"}


def test_a_run_of_other_settings_takes_what_fits_and_names_the_rest(hybrid_run, tmp_path, monkeypatch):
    output = start(hybrid_run, tmp_path, monkeypatch, "--num-layers", "2", "--mamba-d-conv", "3")
    event = initial_event(output)
    assert "embedding.weight" in event["taken"]
    assert "blocks.0.plastic.weight" in event["taken"]
    assert "blocks.1.plastic.weight" in event["anew"]
    assert any(line.startswith("blocks.0.mixer.conv1d.weight ([") for line in event["other_shape"])
    assert event["left_over"] == []
    assert Run.open(output).tokenizer.name == Run.open(hybrid_run).tokenizer.name


def test_the_first_weights_are_those_of_the_source(hybrid_run, tmp_path, monkeypatch):
    output = start(hybrid_run, tmp_path, monkeypatch, "--learning-rate", "1e-9", "--no-use-stdp")
    ours, theirs = Run.open(output).model.state_dict(), Run.open(hybrid_run).model.state_dict()
    assert all((value - theirs[name]).abs().max() < 1e-6 for name, value in ours.items())


def test_another_tokenizer_draws_embedding_anew_and_says_so(hybrid_run, tmp_path, monkeypatch):
    output = start(hybrid_run, tmp_path, monkeypatch, "--tokenizer", "bytes")
    assert [line.split(" ")[0] for line in initial_event(output)["other_shape"]] == ["embedding.weight"]


def test_a_resumed_run_goes_on_without_its_source_and_refuses_another(published, tmp_path, monkeypatch, capsys):
    output = start(published, tmp_path, monkeypatch)
    moved = tmp_path / "elsewhere"
    words = ["train", "--config", str(output / "config.json"), "--output-dir", str(output), "--max-steps", "2"]
    config = json.loads((output / "config.json").read_text())
    config["run"]["init_from"] = str(moved)
    (tmp_path / "moved.json").write_text(json.dumps(config))
    assert main(words) == 0
    LanguageModel.from_pretrained(published).save_pretrained(moved, tokenizer=BytesTokenizer())
    assert main(["train", "--config", str(tmp_path / "moved.json"), *words[3:]]) == 2
    assert "started from" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["--init-from", "nowhere/at/all"], "no such folder"),
        (["--tokenizer", "init"], "--tokenizer init without --init-from"),
    ],
)
def test_what_is_not_there_is_refused(words, answer, capsys):
    assert main(["train", *SIZE.split(), *words, "--dry-run"]) == 2
    assert answer in " ".join(capsys.readouterr().err.split())


def test_weights_without_a_tokenizer_ask_for_one(tmp_path):
    build_awake(ModelConfig(**SMALL)).float().save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"put its tokenizer\.json into the folder"):
        shaped_like(presets.tiny(), str(tmp_path))
    assert shaped_like(presets.tiny(), str(tmp_path), {"tokenizer": "bytes"}).model.hidden_dim == SMALL["hidden_dim"]


def test_a_run_of_images_takes_a_model_that_reads_bytes_and_refuses_another_tokenizer(published, tmp_path):
    images = str(write_images(tmp_path / "shapes"))
    config = configure(preset="tiny", task="vision", data=(images,), init_from=str(published))
    assert initial_tokenizer(config).name == "bytes"
    bpe = trained_bpe(
        "bpe:300", lambda: iter([b"some text"]), texts_hash="x", cache_dir=tmp_path / "cache", events=EventLog()
    )
    build_awake(ModelConfig(**SMALL)).float().save_pretrained(tmp_path / "words", tokenizer=bpe)
    config = configure(preset="tiny", task="vision", data=(images,), init_from=str(tmp_path / "words"))
    with pytest.raises(UserError, match=r"--task vision with --tokenizer(.|\n)*--tokenizer bytes"):
        initial_tokenizer(config)


def test_weights_of_which_nothing_fits_are_refused():
    model = build_awake(ModelConfig(**SMALL))
    with pytest.raises(UserError, match="none of its 1 weights fits"):
        take_weights(model, {"x": torch.zeros(1)}, same_tokenizer=True, source="there")
    before = model(random_tokens(1, 3)).logits_BTV
    assert model.vocab_size == VOCAB_SIZE
    assert torch.equal(model(random_tokens(1, 3)).logits_BTV, before)
