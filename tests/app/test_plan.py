"""The plan says what a run would do, and touches nothing."""

from mambrane.app.cli import main
from tests.contract.main_job import SIZE, SWITCHES, write_domains


def test_a_dry_run_prints_tasks_parameters_memory_and_time_and_leaves_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MAMBRANE_CACHE", str(tmp_path / "cache"))
    data = write_domains(tmp_path / "texts")
    output = tmp_path / "run"
    words = ["train", *SIZE.split(), *SWITCHES.split(), "--data", str(data), "--output-dir", str(output), "--dry-run"]
    assert main(words) == 0
    told = capsys.readouterr().out
    for word in (
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
