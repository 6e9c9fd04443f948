"""The plan says what a run would do, and touches nothing."""

import json

import pytest

from mambrane.app.cli import main
from tests.contract.main_job import SIZE, SWITCHES, write_domains


def test_a_dry_run_prints_tasks_parameters_memory_and_time_and_leaves_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MAMBRANE_CACHE", str(tmp_path / "cache"))
    data = write_domains(tmp_path / "texts")
    output = tmp_path / "run"
    words = ["train", *SIZE.split(), *SWITCHES.split(), "--data", str(data), "--output-dir", str(output), "--dry-run"]
    asked = []

    def compile_kernels(announce, operations):
        announce("compiling CPU kernels")
        asked.extend(operations)

    monkeypatch.setattr("mambrane.run.kernels.compile_kernels", compile_kernels)
    assert main([*words, "--liquid-units", "64"]) == 0
    told, beside = capsys.readouterr()
    assert beside == "compiling CPU kernels\n"
    assert {"lif", "causal_trace", "selective_scan", "windowed_attention"} <= set(asked)
    for word in (
        "--liquid-units 64 has no effect without --liquid-backbone cfc or ltc",
        "domain0",
        "domain4",
        "total",
        "parameters",
        "cross-attention",
        "memory",
        "MiB",
        "time",
        "about",
        "in fp32",
        "--precision bf16",
    ):
        assert word in told
    assert not output.exists()


def test_the_plan_as_json_is_one_object_and_nothing_beside_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MAMBRANE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("mambrane.run.kernels.compile_kernels", lambda announce, operations: announce("compiling"))
    data = write_domains(tmp_path / "texts")
    words = ["train", *SIZE.split(), *SWITCHES.split(), "--data", str(data), "--dry-run", "--json"]
    assert main([*words, "--liquid-units", "64"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["config"]["model"]["hidden_dim"] == 32
    assert [domain["name"] for domain in plan["domains"]] == [f"domain{index}" for index in range(5)]
    assert plan["domains"][0].keys() >= {"bytes_there", "bytes_read", "heldout_bytes", "overlap_ratio"}
    assert plan["steps"] == sum(task["steps"] for task in plan["tasks"]) > 0
    assert min(plan[name] for name in ("parameters", "memory_bytes", "seconds")) > 0
    assert any("--liquid-units 64 has no effect" in sentence for sentence in plan["warnings"])
    assert main([word for word in words if word != "--dry-run"]) == 2


def test_a_micro_batch_that_would_take_minutes_is_counted_and_a_gpu_is_predicted(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MAMBRANE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("mambrane.run.kernels.compile_kernels", lambda announce, operations: None)
    monkeypatch.setattr("mambrane.planning.plan.measure_micro_batch", lambda *_: pytest.fail("it would take minutes"))
    data = write_domains(tmp_path / "texts")
    words = ["train", "--preset", "large", "--num-layers", "4", "--tokenizer", "bytes", "--data", str(data)]
    assert main([*words, "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert not plan["is_measured"]
    gpu = plan["predicted_on_gpu"]
    assert gpu["name"] == "H100 SXM"
    assert min(gpu["seconds"], gpu["tokens_per_s"], gpu["memory_bytes"]) > 0
    assert main([*words, "--dry-run"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "too much to run one now" in told
    assert "is predicted, not measured, to take about" in told
