"""A run as a model of the evaluation harness: its numbers are the model's, and a task of local files runs."""

import json
import math
import sys

import pytest
import torch

from mambrane import Run, harness_model
from mambrane.core.errors import UserError
from mambrane.run.harness import Answers

TASK = """
task: {kind}
dataset_path: json
dataset_kwargs:
  data_files: {file}
test_split: train
output_type: {kind}
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
"""
CHOICES = """
doc_to_choice: "{{choices}}"
metric_list:
  - metric: acc
"""
ANSWERS = """
generation_kwargs:
  until: ["\\n"]
  max_gen_toks: 5
metric_list:
  - metric: exact_match
"""
ROLLING = """
metric_list:
  - metric: bits_per_byte
"""


@pytest.fixture(scope="module")
def run(hybrid_run):
    return Run.open(hybrid_run)


@torch.no_grad()
def log_likelihoods(run, text):
    """Return ln p of each token of a document."""
    tokens = torch.tensor([[run.tokenizer.end_of_text, *run.tokenizer.encode(text).tolist()]])
    logits = run.model.eval()(tokens).logits_BTV[0, :-1].double()
    return logits.log_softmax(-1).gather(1, tokens[0, 1:, None])[:, 0]


def test_the_likelihood_of_a_continuation_is_that_of_its_tokens(run):
    total, _ = Answers(run).log_likelihood("osov tkgnk ", "zz")
    before = len(run.tokenizer.encode(b"osov tkgnk"))
    assert total == pytest.approx(log_likelihoods(run, b"osov tkgnk zz")[before:].sum().item(), abs=1e-3)
    assert Answers(run).rolling_log_likelihood("osov zz") == pytest.approx(
        log_likelihoods(run, b"osov zz").sum().item(), abs=1e-3
    )


@torch.no_grad()
def test_what_the_model_would_write_is_greedy_and_nothing_else(run):
    answers, found = Answers(run), {}
    before = run.tokenizer.encode(b"osov").tolist()
    scores_V = run.model.eval()(torch.tensor([[run.tokenizer.end_of_text, *before]])).logits_BTV[0, -1]
    likely = scores_V.argsort(descending=True).tolist()
    for text in [run.tokenizer.decode([token]) for token in likely[:40]]:
        if text.isascii() and text.strip() and run.tokenizer.encode(b"osov" + text).tolist()[:-1] == before:
            token = run.tokenizer.encode(b"osov" + text).tolist()[-1]
            found[token] = answers.log_likelihood("osov", text.decode())[1]
    assert len(found) > 3
    assert found == {token: token == likely[0] for token in found}


def test_an_answer_ends_before_the_text_it_is_to_end_at(run):
    whole = Answers(run).answer("osov", {"max_gen_toks": 20})
    assert Answers(run).answer("osov", {"max_gen_toks": 20, "until": [whole[3:5]]}) == whole[: whole.index(whole[3:5])]


def test_the_extra_is_named_where_the_harness_is_missing(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval.api.model", None)
    with pytest.raises(UserError, match=r"mambrane\[eval\]"):
        harness_model(run)


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore")
def test_tasks_of_local_files_run_in_the_harness(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    lm_eval = pytest.importorskip("lm_eval", reason="pip install -r requirements/parity.txt")
    from lm_eval.tasks import TaskManager

    rows = [{"question": "osov tkgnk", "answer": 1, "choices": [" \x01\x02\x03", " htq"], "text": "osov"}] * 2
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    folder = tmp_path / "tasks"
    folder.mkdir()
    more = {"multiple_choice": CHOICES, "generate_until": ANSWERS, "loglikelihood_rolling": ROLLING}
    for kind, lines in more.items():
        (folder / f"{kind}.yaml").write_text(TASK.format(kind=kind, file=tmp_path / "rows.jsonl") + lines)
    found = lm_eval.simple_evaluate(
        model=harness_model(run),
        tasks=list(more),
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        bootstrap_iters=0,
        log_samples=False,
    )["results"]
    likelihoods = [Answers(run).log_likelihood("osov tkgnk", " " + choice)[0] for choice in rows[0]["choices"]]
    assert found["multiple_choice"]["acc,none"] == float(likelihoods[1] > likelihoods[0])
    assert found["generate_until"]["exact_match,none"] == 0.0
    bits = -Answers(run).rolling_log_likelihood("1") / math.log(2)
    assert found["loglikelihood_rolling"]["bits_per_byte,none"] == pytest.approx(bits, rel=1e-4)
