"""The shared file of the spike tax: which rows it gets, whole at any time, and what is printed of it."""

import json

import pytest
import torch

from benchmarks import spike_tax
from benchmarks.spike_tax import PLAIN, TAUGHT, add_missing, add_row, difference_text, main, rows_of


@pytest.fixture
def trained(monkeypatch):
    """The models that were trained, in order; none of them takes any time but that which a clock counts."""
    names, now_s = [], [0.0]

    def train(contender, seed, train_tokens, vocab_size, *, num_steps, method=None):
        names.append((contender, method is not None))
        now_s[0] += 100.0
        return torch.nn.Linear(1, 1), {}

    monkeypatch.setattr(spike_tax, "train", train)
    monkeypatch.setattr(spike_tax, "judged", lambda *_: {"firing_rates": {}, "nats_per_character": 1.0})
    monkeypatch.setattr(spike_tax.time, "perf_counter", lambda: now_s[0])
    return names


def test_a_teacher_is_a_row_of_its_own_and_none_of_its_time_stands_in_that_of_the_taught(trained, tmp_path):
    output, teacher = tmp_path / "rows.json", tmp_path / "weights" / "teacher.pt"
    for _ in range(2):
        add_missing(output, "text", 0, ["hybrid" + TAUGHT, PLAIN], (None, None, 66), teacher, num_steps=1)
    assert [(row["model"], row["seconds"]) for row in rows_of(output)] == [(PLAIN, 100.0), ("hybrid" + TAUGHT, 100.0)]
    assert len(trained) == 2


def test_a_teacher_that_is_lost_is_trained_again_and_its_row_stays(trained, tmp_path):
    output, teacher = tmp_path / "rows.json", tmp_path / "teacher.pt"
    add_row(output, {"text": "text", "seed": 0, "model": PLAIN, "seconds": 7.0})
    add_missing(output, "text", 0, [PLAIN, PLAIN + TAUGHT], (None, None, 66), teacher, num_steps=1)
    assert [row["seconds"] for row in rows_of(output)] == [7.0, 100.0]
    assert teacher.exists()


def test_a_write_that_is_cut_short_leaves_the_rows_that_were_there(tmp_path, monkeypatch):
    path = tmp_path / "rows.json"
    add_row(path, {"text": "text", "seed": 0, "model": PLAIN})
    before = path.read_bytes()

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            add_row(path, {"text": "text", "seed": 1, "model": PLAIN})
    assert path.read_bytes() == before
    assert len(json.loads(before)["rows"]) == 1


def test_a_domain_that_there_is_not_is_named_beside_those_there_are(capsys, tmp_path):
    with pytest.raises(SystemExit):
        main(["--domains", "englsh", "--output", str(tmp_path / "rows.json")])
    told = capsys.readouterr().err
    assert "--domains englsh: no built-in domain of that name; there are python, cpp, english" in told


@pytest.mark.parametrize(
    ("nats", "text"),
    [
        ([[1.5, 1.25]], "+0.2500"),
        ([[1.5, 1.25], [1.25, 1.25]], "+0.1250"),
        # Equal differences, for which a bootstrap has no interval but nan.
        ([[1.5, 1.25], [2.5, 2.25], [3.5, 3.25]], "+0.2500 (+0.2500 to +0.2500)"),
    ],
)
def test_a_difference_has_an_interval_from_three_pairs_on(nats, text):
    assert difference_text(nats) == text


def test_the_kept_rows_print(capsys):
    main([])
    printed = capsys.readouterr().out
    assert "| tinyshakespeare | hybrid | 10 | 1.5433 | 1.5400 | +0.0034 (-0.0017 to +0.0072) |" in printed
