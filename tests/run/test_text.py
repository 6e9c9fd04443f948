"""Text from a run by command and by Python: samples, prompts, stops, kept states, scores."""

import io
import json
import sys

import pytest

from mambrane import Run
from mambrane.app.cli import main

FEW = ["--max-tokens", "24"]


def told(capsys, *words):
    assert main(list(map(str, words))) == 0
    return capsys.readouterr().out


def test_several_samples_start_with_the_one_and_differ(hybrid_run, capsys):
    run = Run.open(hybrid_run)
    written = run.write("ab", 3, max_tokens=24)
    assert written[0].text == run.generate("ab", max_tokens=24)
    assert len({each.text for each in written}) == 3
    out = told(capsys, "generate", hybrid_run, "--prompt", "ab", "--num-samples", 3, *FEW)
    assert out == "".join(f"--- {n} of 3\nab{each.text}\n" for n, each in enumerate(written, start=1))


def test_json_says_text_tokens_and_why_it_ended(hybrid_run, capsys):
    answer = json.loads(told(capsys, "generate", hybrid_run, "--prompt", "ab", "--num-samples", 2, "--json", *FEW))
    assert answer["prompt"] == "ab"
    assert [sample["ended_by"] for sample in answer["samples"]] == ["max_tokens"] * 2
    assert [sample["num_tokens"] for sample in answer["samples"]] == [24, 24]
    assert answer["samples"][0]["text"] == Run.open(hybrid_run).generate("ab", max_tokens=24)


def test_a_prompt_may_come_from_a_file_or_from_standard_input(hybrid_run, tmp_path, capsys, monkeypatch):
    expected = told(capsys, "generate", hybrid_run, "--prompt", "a b\nc", *FEW)
    (tmp_path / "p").write_text("a b\nc")
    assert told(capsys, "generate", hybrid_run, "--prompt-file", tmp_path / "p", *FEW) == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a b\nc")))
    assert told(capsys, "generate", hybrid_run, "--prompt-file", "-", *FEW) == expected


def test_a_stop_text_ends_the_text_before_it(hybrid_run, capsys):
    whole = Run.open(hybrid_run).generate("ab", max_tokens=24)
    out = told(capsys, "generate", hybrid_run, "--prompt", "ab", "--stop", whole[5:7], "never", "--max-tokens", 24)
    assert out == "ab" + whole[: whole.index(whole[5:7])] + "\n"


def test_a_kept_state_goes_on_where_the_text_stopped(hybrid_run, tmp_path, capsys):
    greedy = ["--temperature", "0"]
    whole = told(capsys, "generate", hybrid_run, "--prompt", "ab", "--max-tokens", 20, *greedy)
    state = ["--state", tmp_path / "s", *greedy, "--max-tokens", 10]
    first = told(capsys, "generate", hybrid_run, "--prompt", "ab", *state)
    second = told(capsys, "generate", hybrid_run, *state)
    assert first[:-1] + second == whole
    before = (tmp_path / "s").read_bytes()
    assert told(capsys, "generate", hybrid_run, "--prompt", "more", *state).startswith("more")
    assert (tmp_path / "s").stat().st_size == len(before)
    assert (tmp_path / "s").read_bytes() != before
    (sample,) = json.loads(told(capsys, "generate", hybrid_run, *state, "--json"))["samples"]
    assert (sample["num_tokens"], sample["ended_by"]) == (10, "max_tokens")


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["--prompt", "a", "--prompt-file", "b"], "one prompt"),
        (["--prompt-file", "nowhere"], "--prompt-file nowhere"),
        (["--num-samples", "2", "--state", "s"], "a file keeps one text"),
        (["--num-samples", "0"], "at least 1"),
        (["--stop", ""], "an empty text"),
    ],
)
def test_what_makes_no_sense_is_refused(hybrid_run, capsys, words, answer):
    assert main(["generate", str(hybrid_run), *words]) == 2
    assert answer in " ".join(capsys.readouterr().err.split())


def test_scores_of_a_file_and_of_standard_input_are_those_of_python(hybrid_run, tmp_path, capsys, monkeypatch):
    text = b"osov tkgnk\nsomething else 123\n"
    scores = list(Run.open(hybrid_run).score(text.splitlines(keepends=True)))
    (tmp_path / "log").write_bytes(text)
    out = told(capsys, "score", hybrid_run, tmp_path / "log")
    assert out == "".join(f"{score.bits_per_byte:8.3f}  {score.text}\n" for score in scores)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    lines = [json.loads(line) for line in told(capsys, "score", hybrid_run, "-", "--json").splitlines()]
    assert [line["text"] for line in lines] == ["osov tkgnk", "something else 123"]
    assert lines[1]["bits"] == pytest.approx(scores[1].bits)
    assert lines[0]["bytes"] == 11


def test_a_file_that_is_not_there_is_refused(hybrid_run, capsys):
    assert main(["score", str(hybrid_run), "nowhere.txt"]) == 2
    assert "nowhere.txt: No such file" in capsys.readouterr().err
