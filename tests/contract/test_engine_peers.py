"""Mambrane's column of docs/engine-peers.md: every case of the comparison, and the judges that decide it."""

import json

import pytest

from benchmarks.engine_peers.cases import CASES, steps_only, weights_and_steps
from benchmarks.engine_peers.engines import Engine, Reply
from benchmarks.engine_peers.jobs import Job
from benchmarks.engine_peers.oracle import oracle_weights
from benchmarks.environments import ROOT


@pytest.fixture(scope="module")
def mambrane(tmp_path_factory):
    with Engine("mambrane", tmp_path_factory.mktemp("engine")) as engine:
        yield engine


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_mambrane_is_right_in_every_case(mambrane, case):
    finding = case.examine(mambrane, "")
    assert finding.verdict == "right", finding.text


class Told:
    """An engine that says it did what it is told to say."""

    def __init__(self, **notes):
        self.notes = {"error": "", "has_scaler": False, "computed_in": "float64"} | notes

    def run(self, job):
        return Reply(0, self.notes)


@pytest.mark.parametrize(
    ("fault", "verdict"),
    [
        ({}, "right"),
        ({"steps": 3}, "wrong"),
        ({"error": "AssertionError: No inf checks were recorded"}, "wrong"),
        ({"weights": oracle_weights(Job(micro_batches=8))}, "wrong"),
        ({"weights": oracle_weights(Job(micro_batches=7, ragged=True))}, "wrong"),
    ],
    ids=["no fault", "a phantom step", "an exception", "other data", "other targets"],
)
def test_the_judge_of_weights_sees_a_fault(fault, verdict):
    job = Job(micro_batches=7)
    engine = Told(**{"steps": 2, "weights": oracle_weights(job)} | fault)
    assert weights_and_steps(job)(engine, "").verdict == verdict


@pytest.mark.parametrize(("steps", "error", "verdict"), [(0, "", "right"), (1, "", "wrong"), (0, "E: no", "refuses")])
def test_an_empty_epoch_has_no_step(steps, error, verdict):
    assert steps_only(Job(micro_batches=0))(Told(steps=steps, error=error), "").verdict == verdict


def test_fp16_that_is_not_computed_in_fp16_is_not_called_right():
    job = Job(half=True)
    assert weights_and_steps(job)(Told(steps=2, weights=oracle_weights(job)), "").verdict == "not offered"


def test_the_page_and_the_results_have_a_row_for_every_case_and_mambrane_right_in_each():
    page = (ROOT / "docs" / "engine-peers.md").read_text()
    results = json.loads((ROOT / "benchmarks" / "results" / "engine_peers.json").read_text())
    assert list(results["cases"]) == [case.name for case in CASES]
    for case in CASES:
        assert results["cases"][case.name]["mambrane"]["documented"]["verdict"] == "right"
        (row,) = (line for line in page.splitlines() if line.startswith(f"| {case.title} |"))
        assert row.endswith("| right |")
