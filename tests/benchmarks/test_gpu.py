"""The benchmark of GPUs: its predictions are labelled, and its measurements run wherever they are called."""

import json
import math
from dataclasses import replace

import pytest
import torch

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import measurement, page, peers
from benchmarks.gpu.calls import Sizes, calls
from benchmarks.gpu.prediction import predicted
from mambrane.ops import causal_conv
from mambrane.settings.presets import tiny

CPU = torch.device("cpu")
SMALL = Sizes(batch=2, tokens=9, width=32, expanded=64, states=4, units=8, vocabulary=50)


@pytest.fixture(scope="module")
def prediction():
    of_tiny = predicted(tiny(), 300)
    base = of_tiny["eager"]
    return {
        "gpu": {"name": "H100 SXM"},
        "runs": {"base": of_tiny},
        "launches_per_micro_batch": base["launches_per_micro_batch"],
        "predicted_tokens_per_s": base["predicted_tokens_per_s"],
        "parts": base["parts"],
    }


def test_every_line_of_figures_says_that_nothing_is_measured(prediction):
    rows = [line for line in page.prediction_text(prediction).splitlines() if line.startswith("| ")]
    figures = [line for line in rows if any(letter.isdigit() for letter in line)]
    assert len(figures) > 6
    assert all("predicted, not measured" in line for line in figures)


def test_the_json_has_launches_tokens_and_the_parts_of_the_base_preset(monkeypatch, capsys, prediction):
    monkeypatch.setattr(command, "whole_prediction", lambda: prediction)
    assert command.main(["--predict", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["launches_per_micro_batch"] > 0
    assert answer["predicted_tokens_per_s"] > 0
    assert math.isclose(sum(answer["parts"]["device_ms"].values()), answer["parts"]["device_ms_of_all"])


def test_every_operation_is_that_of_its_reference():
    rows = list(measurement.parity(CPU, SMALL))
    assert len(rows) == 9
    assert all(row["is_met"] for row in rows), rows


def test_every_operation_is_timed():
    rows = list(measurement.operation_times(CPU, SMALL, rounds=1))
    assert {row["operation"] for row in rows} >= {"selective_scan", "lif", "windowed_attention"}
    assert all(row["forward_us"] > 0 and row["least_bytes"] > 0 for row in rows)


def test_a_peer_is_timed_only_where_it_is_installed_works_and_computes_the_same():
    def conv(_, *inputs):
        return causal_conv(*inputs, backend="reference")[0]

    candidates = [
        peers.Peer("causal_conv", "the same", "torch", conv),
        peers.Peer("causal_conv", "another", "torch", lambda _, *inputs: conv(_, *inputs) * 1.5),
        peers.Peer("causal_conv", "broken", "torch", lambda _, *inputs: inputs[0] @ inputs[0]),
        peers.Peer("causal_conv", "absent", "no_such_package", conv),
    ]
    same, another, broken, absent = peers.compared(CPU, candidates, SMALL, rounds=1)
    assert same["ours_us"] > 0
    assert same["theirs_us"] > 0
    assert another["left_out"] == "computes something else"
    assert broken["left_out"].startswith("fails: ")
    assert absent["left_out"].startswith("not installed: ")
    assert {peer.operation for peer in peers.installed_peers()} <= set(calls(SMALL))
    text = page.measured_text({"date": "d", "device": "a GPU", "torch": "2", "peers": [same, absent]}, {})
    assert "- causal_conv against absent: not installed" in text
    assert "us against" in text


def test_training_long_texts_and_writing_are_measured_on_any_device():
    config = tiny()
    config = replace(
        config,
        data=replace(config.data, sequence_length=8, batch_size=2),
        model=replace(config.model, hidden_dim=32, num_layers=1, spiking_units=8, liquid_units=8),
        engine=replace(config.engine, accumulation_steps=1),
    )
    trained = measurement.training(config, 300, CPU, steps=1)
    assert min(trained["tokens_per_s"], trained["step_ms"], trained["flops_per_s"]) > 0
    (long,) = measurement.long_sequences(config, CPU, (16,))
    assert long["us_per_token"] > 0
    assert measurement.generation(config, CPU, tokens=2)["tokens_per_s"] > 0


def test_what_was_measured_stands_beside_what_was_predicted(prediction):
    measured = {"date": "2026-11-28", "device": "a GPU", "torch": "2", "is_resumed_exactly": True}
    training = {"tokens_per_s": 1234.0, "flops_per_s": 1e12, "peak_bytes": 2**30}
    measured["training"] = {"base, eager": training}
    measured["parity"] = [{"operation": "lif", "backend": "triton", "forward": 0.0}]
    text = page.measured_text(measured, prediction)
    assert "| base, eager | 1,234 |" in text
    assert f"{prediction['runs']['base']['eager']['predicted_tokens_per_s']:,.0f}" in text
    assert "the same bits" in text
