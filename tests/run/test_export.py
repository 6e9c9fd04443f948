"""What leaves a run: it opens elsewhere with the same logits, and what a format cannot say is refused in words."""

import json

import pytest
import torch

from mambrane import LanguageModel, Run, pretrained_tokenizer
from mambrane.app.cli import main
from mambrane.core.errors import UserError

TOKENS = torch.tensor([[256, 104, 101, 108, 108, 111]])


@torch.no_grad()
def test_the_folder_opens_with_the_same_logits_and_tokens(hybrid_run, tmp_path):
    run = Run.open(hybrid_run)
    exported = run.export("folder", tmp_path / "out")
    assert (exported.place, exported.left_out) == (str(tmp_path / "out"), ())
    model, tokenizer = LanguageModel.from_pretrained(exported.place), pretrained_tokenizer(exported.place)
    assert torch.equal(model.eval()(TOKENS).logits_BTV, run.model.eval()(TOKENS).logits_BTV)
    assert (tokenizer.name, tokenizer.end_of_text) == (run.tokenizer.name, run.tokenizer.end_of_text)
    assert tokenizer.encode(b"osov tkgnk").tolist() == run.tokenizer.encode(b"osov tkgnk").tolist()


def test_the_card_says_text_matrix_and_limits(hybrid_run, tmp_path):
    run = Run.open(hybrid_run)
    run.export("folder", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    for cell in run.matrix.values[-1]:
        assert f"{cell:.3f}" in card
    for domain in json.loads((hybrid_run / "domains.json").read_text())[:2]:
        assert f"| {domain['name']} | {domain['bytes_read']:,} |" in card
    for words in (
        "library_name: mambrane",
        "## Limits",
        "forgetting",
        "LanguageModel.from_pretrained",
        "spiking-neural",
    ):
        assert words in card


def test_the_command_prints_where_the_model_is(mamba_run, tmp_path, capsys):
    for kind in ("folder", "transformers"):
        assert main(["export", str(mamba_run), "--to", kind, "--output-dir", str(tmp_path / kind)]) == 0
        assert capsys.readouterr().out == f"{tmp_path / kind}\n"
    assert json.loads((tmp_path / "transformers" / "config.json").read_text())["model_type"] == "mamba"
    assert json.loads((tmp_path / "folder" / "config.json").read_text())["model_type"] == "mambrane"


def test_a_run_is_published_as_the_folder_that_opens(mamba_run, monkeypatch):
    import huggingface_hub

    seen = {}

    class Hub:
        def create_repo(self, name, *, private, exist_ok):
            seen.update(name=name, private=private)
            return f"https://hub/{name}"

        def upload_folder(self, *, repo_id, folder_path):
            seen["model"] = LanguageModel.from_pretrained(folder_path)

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    exported = Run.open(mamba_run).export("hub", hub_name="me/mine", private=True)
    assert (exported.place, seen["name"], seen["private"]) == ("https://hub/me/mine", "me/mine", True)
    expected = Run.open(mamba_run).model.state_dict()
    assert all(torch.equal(expected[name], value) for name, value in seen["model"].state_dict().items())


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["--to", "transformers"], "transformers knows no such model"),
        (["--to", "nir"], "--spike-reset subtract"),
        (["--to", "hub"], "--hub-name OWNER/MODEL"),
        (["--to", "folder", "--hub-name", "a/b"], "--to hub"),
        *((["--to", kind, "--private"], f"--private with --to {kind}") for kind in ("folder", "transformers", "nir")),
        (["--to", "onnx"], "one of folder, hub, transformers, nir"),
    ],
)
def test_what_cannot_be_said_is_refused_with_the_reason(hybrid_run, capsys, words, answer):
    assert main(["export", str(hybrid_run), *words]) == 2
    assert answer in " ".join(capsys.readouterr().err.split())


def test_where_no_folder_is_named_the_kind_is_one_below_export(mamba_run, capsys):
    assert main(["export", str(mamba_run)]) == 0
    assert capsys.readouterr().out == f"{mamba_run / 'export' / 'folder'}\n"


def test_a_run_is_not_written_over(hybrid_run):
    with pytest.raises(UserError, match="a run or a file lies there"):
        Run.open(hybrid_run).export("folder", hybrid_run)
    assert "engine" in json.loads((hybrid_run / "config.json").read_text())
