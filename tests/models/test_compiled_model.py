"""`torch.compile(model)` with its default compiler gives the numbers of the model, forward and backward, on a CPU."""

import shutil
import subprocess
import sys

import pytest

# A process of its own: the shape checker of the tests stands in the compiler's way.
TRY_IT = """
import torch
from mambrane.core.seeding import make_generator
from mambrane.models.config import ModelConfig
from mambrane.models.language_model import LanguageModel

config = ModelConfig(hidden_dim=16, num_layers=1, spiking_units=16, num_gate_heads=2, mamba_d_state=4, use_mamba=True)
model = LanguageModel(config, 20, make_generator(0, "weights"))
tokens_BT = torch.randint(0, 20, (2, 8))
found = []
for run in (model, torch.compile(model, backend="inductor")):
    model.zero_grad()
    logits_BTV = run(tokens_BT).logits_BTV
    logits_BTV.square().mean().backward()
    found.append([logits_BTV.detach(), *(each.grad for each in model.parameters() if each.grad is not None)])
assert len(found[0]) == len(found[1]) > 10
for eager, compiled in zip(*found):
    torch.testing.assert_close(compiled, eager, rtol=1e-4, atol=1e-6)
print("equal")
"""


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="torch's compiler needs one for C++")
def test_the_default_compiler_gives_the_numbers_of_the_model_forward_and_backward():
    done = subprocess.run([sys.executable, "-c", TRY_IT], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["equal"], done.stderr[-3000:]
