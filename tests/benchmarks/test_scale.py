"""The model of a run on many GPUs behaves at its limits as the thing that it is a model of."""

import math
import re
import subprocess
from pathlib import Path

import pytest

from benchmarks.scale import HOURS_BETWEEN_FAILURES, JITTER, scaled, sum_seconds, useful_share, wavefront_use

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scale.md"
MICRO = {"parameters": 10**9, "micro_s": 1.0, "update_s": 0.1, "micro_tokens": 1000, "tokens_of_step": 64_000}


def test_one_gpu_waits_for_nobody():
    alone = scaled(1, **MICRO)
    assert (alone.sum_s, alone.wait_s) == (0.0, 0.0)
    assert alone.step_s == alone.compute_s == pytest.approx(64.1)


def test_more_gpus_share_the_micro_batches_of_a_step_and_then_make_the_step_larger():
    assert scaled(8, **MICRO).compute_s == pytest.approx(8.1)
    assert scaled(8, **MICRO).tokens_of_step == scaled(64, **MICRO).tokens_of_step == 64_000
    assert scaled(1024, **MICRO).tokens_of_step == 1_024_000
    assert scaled(1024, **MICRO).compute_s == scaled(64, **MICRO).compute_s


def test_what_is_sent_for_a_sum_nears_a_bound_and_hops_go_on_growing():
    times = [sum_seconds(4e9, gpus) for gpus in (2, 8, 16, 64, 1024)]
    assert times == sorted(times)
    assert times[-1] < 1.2 * times[-2]
    assert sum_seconds(0.0, 1024) == pytest.approx(896 * 3e-6 + 127 * 10e-6)


def test_no_other_time_between_checkpoints_leaves_more_useful_work():
    save_s, restart_s, between_s = 10.0, 100.0, 36_000.0
    best_s, best = useful_share(save_s, restart_s, between_s)

    def useful(every_s):
        return 1 - save_s / every_s - (every_s / 2 + restart_s) / between_s

    assert best == pytest.approx(useful(best_s))
    assert best > max(useful(0.8 * best_s), useful(1.25 * best_s))


def test_useful_work_falls_with_the_number_of_gpus_by_failures_and_waiting():
    shares = [scaled(gpus, **MICRO).useful for gpus in (1, 8, 64, 1024)]
    assert shares == sorted(shares, reverse=True)
    assert scaled(8, **MICRO).wait_s == pytest.approx(JITTER * 8.1 * math.sqrt(2 * math.log(8)))
    assert 40_000 < HOURS_BETWEEN_FAILURES < 60_000


def test_a_wavefront_over_one_rank_is_full_and_over_many_is_as_deep_as_the_model():
    assert wavefront_use(8, 1) == 1.0
    assert wavefront_use(24, 8) == 24 / 31


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_script_for_slurm_is_a_script():
    (script,) = [block for block in blocks("bash") if "#SBATCH" in block]
    checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "torchrun" in script
    assert "--max-restarts" in script


def test_the_job_for_kubernetes_is_a_job():
    yaml = pytest.importorskip("yaml")
    (text,) = blocks("yaml")
    service, job = yaml.safe_load_all(text)
    assert (service["kind"], job["kind"]) == ("Service", "Job")
    assert job["spec"]["completionMode"] == "Indexed"
    assert job["spec"]["completions"] == job["spec"]["parallelism"]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"][0] == "torchrun"
    assert job["spec"]["template"]["spec"]["subdomain"] == service["metadata"]["name"]
