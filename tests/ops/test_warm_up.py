"""Kernels are compiled ahead, announced, kept on disk, and usable where the shape checker of the tests is not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import mambrane.ops
from mambrane.ops.warm_up import WITH_KERNELS

COMPILE = """
from mambrane.ops import compile_kernels
compile_kernels(lambda line: print("announced:", line), operations=["causal_trace"])
"""

HASH = """
import hashlib
import torch
from mambrane.ops import compile_kernels, selective_scan
compile_kernels(lambda line: None, operations=["selective_scan"])
generator = torch.Generator().manual_seed(0)
shapes = ((2, 9, 64), (2, 9, 64), (64, 4), (2, 9, 4), (2, 9, 4))
x, delta, A, B, C = (torch.randn(shape, generator=generator) for shape in shapes)
y = selective_scan(x, delta.abs(), -A.abs(), B, C)[0]
print(hashlib.sha256(y.numpy().tobytes()).hexdigest())
"""

WITHOUT_THE_CHECKER = """
import warnings
import torch
# Raised by torch's own compiler about its own class.
warnings.filterwarnings("ignore", message=".*autograd.function.Function.* should not be instantiated")
from mambrane.ops import CfcWeights, LtcWeights, causal_conv, causal_trace, cfc, lif, ltc, selective_scan, ssd
from mambrane.ops import windowed_attention
from mambrane.ops.linear import linear

def block(x, decay, A):
    spikes, membrane, _ = lif(linear(x, A), decay, keep_membranes=True)
    trace, _ = causal_trace(spikes, 0.9)
    y, _ = causal_conv(trace, A, decay)
    y = selective_scan(y, y.exp(), -A.exp(), membrane, membrane)[0]
    hidden, _ = cfc(y, CfcWeights(torch.cat([A, A], dim=1), decay, A, decay, A, decay, A, decay, A, decay))
    positive = {name: A.exp() for name in ("sensory_w", "w")} | {name: decay.exp() for name in ("cm", "gleak")}
    others = dict.fromkeys(("input_weight", "input_bias", "vleak"), decay)
    hidden, _ = ltc(hidden, LtcWeights(**{name: A for name in LtcWeights._fields} | positive | others))
    read, state = windowed_attention(hidden, membrane, hidden, heads=2, window=3)
    read, _ = windowed_attention(read, hidden, membrane, heads=2, window=3, state=state)
    return ssd(read[..., None], hidden.exp(), -decay.exp(), membrane, membrane)[0]

generator = torch.Generator().manual_seed(0)
leaves = [torch.randn(shape, generator=generator).requires_grad_() for shape in ((2, 20, 4), (4,), (4, 4))]
outputs, grads = [], []
for run in (block, torch.compile(block, backend="aot_eager", fullgraph=True)):
    outputs.append(run(*leaves))
    grads.append(torch.autograd.grad(outputs[-1].square().sum(), leaves))
assert torch.equal(outputs[0], outputs[1])
assert all(torch.equal(*pair) for pair in zip(*grads, strict=True))
def kernels(x, decay, A):
    y = selective_scan(x, x.exp(), -A.exp(), causal_trace(x, 0.9)[0], lif(x, decay).spikes_BTS)[0]
    return windowed_attention(y, x, y, heads=2, window=3)[0]

with torch.autocast("cpu", torch.bfloat16):
    under_autocast = kernels(*leaves)
assert torch.equal(under_autocast, kernels(*leaves))
print("equal")
"""

NOTHING_IS_LEFT_TO_COMPILE = """
import pickle
from dataclasses import replace
from unittest import mock
import torch
from mambrane.kernels import compiler_process
from mambrane.run.kernels import operations_of
from mambrane.settings.config import RunConfig
from mambrane.ops import compile_kernels
from tests.models.modes import all_modes, build_awake, random_tokens

def refuse(function, signature):
    raise AssertionError(f"{function} for {pickle.loads(signature)}")

options = ({}, {"spike_reset": "zero"}, {"detach_reset": True}, {"surrogate": "atan"})
for number, config in enumerate(all_modes()):
    config = replace(config, **options[number % len(options)])
    compile_kernels(lambda line: None, operations_of(RunConfig(model=config)))
    model, tokens = build_awake(config).float(), random_tokens(2, 11)
    resets = tokens == 0
    with mock.patch.object(compiler_process, "compile_elsewhere", refuse):
        for uses_bf16 in (False, True):
            with torch.autocast("cpu", torch.bfloat16, enabled=uses_bf16):
                output = model(tokens, resets_BT=resets, targets_BT=tokens)
            output.nats_BT.sum().backward()
        with torch.no_grad():
            model.step(tokens[:, 0], model(tokens).state)
print("nothing left in any mode")
"""

NOTHING_IS_LEFT_FOR_PLASTICITY = """
import pickle
from dataclasses import replace
from unittest import mock
import torch
from mambrane.kernels import compiler_process
from mambrane.run.kernels import operations_of
from mambrane.settings.config import RunConfig
from mambrane.data.batch import MicroBatch
from mambrane.engine.extensions import BoundaryView, StepView
from mambrane.models.config import ModelConfig
from mambrane.ops import compile_kernels
from mambrane.plasticity.config import PlasticityConfig
from mambrane.plasticity.meta_plasticity import MetaPlasticity
from mambrane.plasticity.stdp import Stdp
from tests.models.modes import build_awake, random_tokens

def refuse(function, signature):
    raise AssertionError(f"{function} for {pickle.loads(signature)}")

model_config = ModelConfig(hidden_dim=16, num_layers=1, spiking_units=8, spike_to_mamba_method="rate")
rule = PlasticityConfig(use_stdp=True, use_meta_plasticity=True)
compile_kernels(lambda line: None, operations_of(RunConfig(model=model_config, plasticity=rule)))
model, tokens = build_awake(model_config).float(), random_tokens(2, 11)
batch = MicroBatch(tokens, tokens, tokens == 0)
with mock.patch.object(compiler_process, "compile_elsewhere", refuse):
    output = model(tokens, resets_BT=batch.resets_BT)
    for name in ("homeostatic", "classical", "triplet", "bcm"):
        view = StepView(
            model=model, micro_batches=[batch], activities=[output.activity],
            read_by_batch=[tokens.numel()], num_targets=tokens.numel(),
            applied_step=1, learning_rate=1e-3,
        )
        Stdp(replace(rule, stdp_type=name), model).after_step(view)
    weights = dict(model.named_parameters())
    meta = MetaPlasticity(rule, model)
    for task in range(2):
        meta.observe({name: torch.ones_like(weight) for name, weight in weights.items()})
        before = {name: weight.detach() - 1.0 for name, weight in weights.items()}
        meta.gate(before, {name: weight.detach() for name, weight in weights.items()})
        meta.boundary(BoundaryView(model=model, loader=None, task_index=task, device=torch.device("cpu")))
print("nothing left for plasticity")
"""


def run_python(program, **environment):
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_every_operation_with_kernels_has_an_example_that_compiles_them():
    folder = Path(mambrane.ops.__file__).parent
    assert list(WITH_KERNELS) == sorted(path.parent.name for path in folder.glob("*/numba_cpu.py"))


@pytest.mark.slow
def test_compilation_is_announced_once_and_again_when_a_shared_file_changes(tmp_path):
    first, second = (run_python(COMPILE, NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(2))
    assert first.startswith("announced: compiling CPU kernels")
    assert "announced: compiled CPU kernels in" in first
    assert second == ""
    changed = "from mambrane.kernels import compiled; compiled._SHARED_SOURCES = 'another'" + COMPILE
    assert run_python(changed, NUMBA_CACHE_DIR=str(tmp_path)).startswith("announced: compiling CPU kernels")


@pytest.mark.slow
def test_kernels_that_are_made_read_or_neither_made_ahead_nor_kept_compute_the_same_bits(tmp_path):
    made, read = (run_python(HASH, NUMBA_CACHE_DIR=str(tmp_path / "kept")) for _ in range(2))
    assert made == read
    cannot_write = """
from mambrane.kernels import kernel_cache
def refuse(path, payload):
    raise OSError(30, "Read-only file system")
kernel_cache._write = refuse
"""
    not_ahead = HASH.replace("compile_kernels(", "(lambda *a, **b: None)(")
    assert run_python(cannot_write + not_ahead, NUMBA_CACHE_DIR=str(tmp_path / "not kept")) == made


@pytest.mark.slow
def test_neither_plasticity_nor_a_run_in_any_mode_compiles_anything_after_the_announcement(tmp_path):
    """One after the other in one process: what both need is compiled once, for the first of them."""
    found = run_python(NOTHING_IS_LEFT_FOR_PLASTICITY + NOTHING_IS_LEFT_TO_COMPILE, NUMBA_CACHE_DIR=str(tmp_path))
    assert found.splitlines() == ["nothing left for plasticity", "nothing left in any mode"]


@pytest.mark.slow
def test_compiled_graphs_and_autocast_give_the_same_bits():
    assert run_python(WITHOUT_THE_CHECKER) == "equal\n"
