"""The losses of a fixed short run do not move unless someone means them to: python tests/engine/test_golden.py records.

fp32 on a CPU. Another processor or torch may round differently, so the tolerance is that of float32 sums; a wrong
weight, a lost micro-batch or a late schedule is thousands of times larger.
"""

import json
import sys
from pathlib import Path

import torch

from mambrane.core.device import describe_environment
from mambrane.engine.extensions import Extensions
from tests.engine.tiny_training import CPU, AddOne, Drift, ListLoader, TinyModel, make_batch, make_batches, make_trainer

GOLDEN_FILE = Path(__file__).with_name("golden_losses.json")
RELATIVE_TOLERANCE = 2e-6


class FloatDrift(Drift):
    """The nudging extension in float32."""

    def __init__(self):
        super().__init__()
        self.trace = self.trace.float()


def run():
    trainer = make_trainer(
        TinyModel(dtype=torch.float32),
        extensions=Extensions(batch_mixers=(AddOne(),), after_steps=(FloatDrift(),)),
        total_steps=20,
        accumulation_steps=3,
    )
    batches = [*make_batches(25), make_batch(77, num_targets=3), make_batch(78, num_targets=0)]
    loader = ListLoader(batches)
    results = [result for _ in range(2) for result in trainer.steps(loader)]
    return [{"loss": r.loss, "gradient_norm": r.gradient_norm, "learning_rate": r.learning_rate} for r in results]


def test_the_losses_of_the_golden_run_have_not_moved():
    golden = json.loads(GOLDEN_FILE.read_text())
    found = run()
    assert len(found) == len(golden["steps"]) == 18
    for step, expected in zip(found, golden["steps"], strict=True):
        torch.testing.assert_close(step, expected, rtol=RELATIVE_TOLERANCE, atol=0)


if __name__ == "__main__":
    torch.set_num_threads(1)
    GOLDEN_FILE.write_text(json.dumps({"environment": describe_environment(CPU), "steps": run()}, indent=1) + "\n")
    sys.stdout.write(f"recorded {GOLDEN_FILE}\n")
