"""What an H100 would take, from counts on the meta device (`mambrane.planning.rehearsal`) and a model of its limits."""

from dataclasses import asdict, replace
from typing import Any

from mambrane.planning import gpu_time
from mambrane.planning.gpu_time import H100, predict
from mambrane.planning.rehearsal import rehearse
from mambrane.settings.config import RunConfig
from mambrane.settings.presets import PRESETS

VOCABULARY = {"tiny": 1024, "small": 257, "base": 8192, "large": 32_768, "xl": 32_768}
CONSTANTS = (
    *("PRODUCT_EFFICIENCY", "PRODUCT_TILE", "PRODUCT_START_S", "SHORTEST_KERNEL_S", "EAGER_START_S"),
    *("COMPILED_START_S", "ISSUE_EFFICIENCY", "ISSUE_OF_WARP", "STATES_OF_WARP", "TICK_S", "LOAD_S"),
)


def configurations() -> dict[str, tuple[RunConfig, int]]:
    """Return what is predicted and measured, by name, with the size of its vocabulary."""
    found = {name: (PRESETS[name](), VOCABULARY[name]) for name in ("tiny", "small", "base", "large")}
    large, vocab_size = found["large"]
    second = replace(large, model=replace(large.model, mamba_version=2, mamba_d_state=128))
    return found | {"large, Mamba 2": (second, vocab_size)}


def predicted(config: RunConfig, vocab_size: int) -> dict[str, Any]:
    """Return the prediction of a run's step, eager and compiled, with the parts that it is added up from."""
    rehearsed = rehearse(config, vocab_size, "bf16")
    answer: dict[str, Any] = {
        "is_predicted": True,
        "gpu": H100.name,
        "parameters": rehearsed.parameters,
        "tokens_per_micro_batch": rehearsed.tokens,
        "saved_mib_per_micro_batch": rehearsed.saved_bytes / 2**20,
        "product_gflop_per_micro_batch": rehearsed.flops / 1e9,
    }
    for form in ("eager", "compiled"):
        found = predict(config, rehearsed, compiled=form == "compiled")
        answer[form] = {
            "launches_per_micro_batch": found.launches,
            "predicted_tokens_per_s": found.tokens_per_s,
            "predicted_mfu": found.flops_ratio,
            "parts": {
                "device_ms": {limit: 1e3 * seconds for limit, seconds in found.parts_s.items()},
                "device_ms_of_all": 1e3 * found.device_s,
                "host_ms": 1e3 * found.host_s,
                "step_ms": 1e3 * found.step_s,
            },
        }
    return answer


def whole_prediction() -> dict[str, Any]:
    """Return every prediction; those of the base preset stand at the top by their plain names."""
    found = {name: predicted(*run) for name, run in configurations().items()}
    base = found["base"]["eager"]
    return {
        "is_predicted": True,
        "gpu": H100._asdict(),
        "constants": {name: getattr(gpu_time, name) for name in CONSTANTS}
        | {"SCAN": gpu_time.SCAN, "SSD": {" ".join(map(str, key)): numbers for key, numbers in gpu_time.SSD.items()}}
        | {"PASSES_OVER_WEIGHTS": gpu_time.PASSES_OVER_WEIGHTS},
        "sources": "mambrane/planning/gpu_time.py says below each constant where it is from",
        "preset": "base",
        "launches_per_micro_batch": base["launches_per_micro_batch"],
        "predicted_tokens_per_s": base["predicted_tokens_per_s"],
        "parts": base["parts"],
        "runs": found,
        "sizes": {name: asdict(run.model) for name, (run, _) in configurations().items()},
    }
