"""How long a GPU would take for a rehearsed micro-batch: a model of its limits, to be read as a prediction.

    a kernel        the largest of  arithmetic / rate,  bytes / bandwidth,  instructions / issue rate,
                    ticks of a recurrence x latency  and the shortest time of a kernel
    the device      sum over kernels
    the host        number of kernels x time to start one; it runs ahead of the device
    a micro-batch   the larger of the two
    a step          accumulation_steps micro-batches and the passes over the weights behind them

Every constant says where it is from. Nothing here was measured on a GPU: where there is one, `python -m
benchmarks.gpu` does that.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from mambrane.planning.rehearsal import Kernel, Rehearsal
from mambrane.settings.config import RunConfig


class Gpu(NamedTuple):
    """The limits of a GPU."""

    name: str
    matrix_flops_per_s: float
    """Dense bfloat16 products; NVIDIA H100 datasheet, SXM column."""
    float32_flops_per_s: float
    """The same in float32, without TF32."""
    bytes_per_s: float
    """Of the 3.35 TB/s of the datasheet, the part that copies reach."""
    processors: int
    """Streaming multiprocessors; H100 architecture whitepaper."""
    clock_hz: float
    schedulers: int
    """Instructions of a warp that a processor issues in a cycle; CUDA programming guide, compute capability 9.0."""

    @property
    def instructions_per_s(self) -> float:
        """Instructions of warps issued, all processors together."""
        return self.processors * self.schedulers * self.clock_hz


H100 = Gpu("H100 SXM", 989.4e12, 66.9e12, 3.0e12, 132, 1.755e9, 4)

PRODUCT_EFFICIENCY = 0.7
"""Part of the datasheet's rate that a large product reaches; about what cuBLAS shows for squares of 4,096 and more."""
PRODUCT_TILE = 128
"""Rows and columns of the output that a processor works on at a time: a product of few tiles leaves processors idle."""
PRODUCT_START_S = 3e-6
"""What a product takes beside its arithmetic: filling the pipeline, the last tile, the epilogue. An estimate."""
SHORTEST_KERNEL_S = 2e-6
"""From the start of a small kernel to that of the next on the device. An estimate: 1.5 to 2.5 us are usual."""
EAGER_START_S = 6e-6
"""Host time for an operation of PyTorch with its share of autograd. An estimate: 4 to 10 us are usual."""
COMPILED_START_S = 5e-6
"""The same in compiled code, whose Python has gone, with the launchers of Triton."""
ISSUE_EFFICIENCY = 0.55
"""Part of the issue slots that many warps fill with long chains of dependent instructions. An estimate."""
ISSUE_OF_WARP = 0.14
"""Part of a scheduler's slots that one warp fills by itself, while it waits for results. An estimate: one in seven."""
TICK_S = 16e-9
"""Latency of a tick of a neuron or trace, at least: seven operations that wait for each other, four cycles each."""
LOAD_S = 192e-9
"""What ticks that are loaded together wait for: the second cache, which the kernel before has filled. An estimate."""
STATES_OF_WARP = 16 * 32
"""Channels and states of a program of the scan, which is one warp."""
SCAN = {
    "selective_scan.chunk_ends": (110.5, 25),
    "selective_scan.chunk_outputs": (167.5, 28),
    "selective_scan.chunk_starts": (106.2, 28),
    "selective_scan.chunk_gradients": (572.8, 8),
}
"""Instructions of a warp for a token, and warps on a processor, as registers allow: counted in the code that Triton
3.7.1 compiles for sm_90 (`python -m benchmarks.gpu_compile`)."""
SSD = {
    ("ssd.pass_states", False): (447.0, 4, 12),
    ("ssd.pass_states", True): (571.0, 4, 8),
    ("ssd.outputs", False): (648.0, 4, 8),
    ("ssd.read_gradients", False): (808.0, 8, 8),
    ("ssd.write_gradients", False): (851.0, 8, 8),
}
"""Of a kernel of the state-space form, by name and whether it goes backward: instructions of a warp for a chunk of 64
tokens of a head with 64 channels and 128 states (64 of them in `pass_states`), warps of a program and warps on a
processor. Counted as those of the scan."""
SEQUENTIAL = {
    "lif.forward": 15.7,
    "lif.backward": 57.4,
    "causal_trace.forward": 10.6,
    "causal_trace.backward": 25.1,
}
"""Kernels that go tick by tick, and instructions of a tick, counted as those of the scan; a warp issues one a cycle."""
PASSES_OVER_WEIGHTS = {"add up gradients": 3, "norm and clip": 3, "AdamW": 7, "copy before the gate": 2, "check": 1}
"""Reads and writes of float32 numbers for each weight, in every step."""
PASSES_OF_METHODS = {"meta-plasticity": 10, "average": 3}
"""The same for what may be switched on."""


class Prediction(NamedTuple):
    """What a micro-batch and a step would take."""

    launches: int
    device_s: float
    host_s: float
    parts_s: dict[str, float]
    """Time of the device by what limits it."""
    step_s: float
    tokens_per_s: float
    flops_ratio: float
    """Part of the datasheet's bfloat16 arithmetic that is put to use (MFU): six operations for each weight and token,
    nothing else counted. Source: Chowdhery et al., PaLM (arXiv 2204.02311), appendix B."""


def predict(config: RunConfig, rehearsed: Rehearsal, *, compiled: bool = False, gpu: Gpu = H100) -> Prediction:
    """Return what the run's micro-batch and step would take, eager or compiled."""
    kernels = rehearsed.fused() if compiled else rehearsed.kernels
    parts: dict[str, float] = {}
    for kernel in kernels:
        limit, seconds = _time_of(kernel, gpu)
        parts[limit] = parts.get(limit, 0.0) + seconds
    device_s = sum(parts.values())
    host_s = len(kernels) * (COMPILED_START_S if compiled else EAGER_START_S)
    passes = sum(PASSES_OVER_WEIGHTS.values())
    passes += PASSES_OF_METHODS["meta-plasticity"] * config.plasticity.use_meta_plasticity
    passes += PASSES_OF_METHODS["average"] * (config.engine.ema_decay > 0)
    update_s = 4 * passes * rehearsed.parameters / gpu.bytes_per_s
    step_s = config.engine.accumulation_steps * max(device_s, host_s) + update_s
    tokens = config.engine.accumulation_steps * rehearsed.tokens
    return Prediction(
        launches=len(kernels),
        device_s=device_s,
        host_s=host_s,
        parts_s=parts,
        step_s=step_s,
        tokens_per_s=tokens / step_s,
        flops_ratio=6 * rehearsed.parameters * tokens / step_s / gpu.matrix_flops_per_s,
    )


def _time_of(kernel: Kernel, gpu: Gpu) -> tuple[str, float]:
    """Return what limits a kernel, and its time in seconds."""
    times = {
        "the shortest time of a kernel": SHORTEST_KERNEL_S,
        "bandwidth": kernel.num_bytes / gpu.bytes_per_s,
        "arithmetic of products": _product_s(kernel, gpu),
        "instructions of the scan": _scan_s(kernel, gpu),
        "instructions of the state-space form": _ssd_s(kernel, gpu),
        "ticks of neurons and traces": _ticks_s(kernel, gpu),
    }
    limit = max(times, key=times.__getitem__)
    return limit, times[limit]


def _product_s(kernel: Kernel, gpu: Gpu) -> float:
    """Return the time of a product's waves of tiles."""
    if kernel.flops == 0:
        return 0.0
    rate = PRODUCT_EFFICIENCY * (gpu.float32_flops_per_s if kernel.is_float32 else gpu.matrix_flops_per_s)
    outputs = sum(piece.num_bytes for piece in kernel.writes) / 2
    tiles = max(1.0, outputs / PRODUCT_TILE**2)
    idle = math.ceil(tiles / gpu.processors) * gpu.processors / tiles
    # A product with few tiles is cut along its sum too, as cuBLAS does: at most half of the processors idle then.
    return kernel.flops / rate * min(idle, 2.0) + PRODUCT_START_S


def _scan_s(kernel: Kernel, gpu: Gpu) -> float:
    """Return the time that issuing a scan's instructions takes."""
    if kernel.name not in SCAN or kernel.launch is None:
        return 0.0
    for_a_token, warps = SCAN[kernel.name]
    batch, tokens, channels = kernel.launch.arguments[0].shape
    states = batch * tokens * channels * kernel.launch.constants["N"]
    filled = min(ISSUE_EFFICIENCY, ISSUE_OF_WARP * warps / gpu.schedulers)
    return states * for_a_token / STATES_OF_WARP / (filled * gpu.instructions_per_s)


def _ssd_s(kernel: Kernel, gpu: Gpu) -> float:
    """Return the time that the state-space form takes to issue its instructions, or to do its products if that is more.

    Other sizes than those counted are taken for as many tiles of those.
    """
    if kernel.launch is None or not kernel.name.startswith("ssd."):
        return 0.0
    sizes = kernel.launch.constants
    instructions, warps, warps_on_processor = SSD[kernel.name, sizes.get("IS_BACKWARD", False)]
    chunk = kernel.launch.arguments[0].shape
    turns = chunk[0] * math.ceil(chunk[1] / sizes["Q"]) * sizes["H"]
    q, p, n = sizes["Q"], sizes["BLOCK_P"], sizes["BLOCK_N"]
    if kernel.name == "ssd.pass_states":
        turns *= kernel.launch.grid[0]
        macs, tiles = q * p * n, q * p * n / 64**3
    else:
        with_states, shared = (1, 1) if kernel.name == "ssd.outputs" else (2, 2)
        macs = q * q * p + with_states * q * p * n + shared * q * q * n / sizes["HEADS"]
        tiles = q * p * n / (64 * 64 * 128)
    filled = min(ISSUE_EFFICIENCY, ISSUE_OF_WARP * warps_on_processor / gpu.schedulers)
    issued_s = turns * max(tiles, 1 / 16) * instructions * warps / (filled * gpu.instructions_per_s)
    return max(issued_s, 2 * turns * macs / (PRODUCT_EFFICIENCY * gpu.matrix_flops_per_s))


def _ticks_s(kernel: Kernel, gpu: Gpu) -> float:
    """Return the time in which a sequence is gone through tick by tick."""
    if kernel.name not in SEQUENTIAL or kernel.launch is None:
        return 0.0
    shapes: Sequence[tuple[int, ...]] = [
        tuple(each.shape) for each in kernel.launch.arguments if hasattr(each, "shape")
    ]
    ticks = max(shape[1] for shape in shapes if len(shape) == 3)
    tick_s = max(TICK_S, SEQUENTIAL[kernel.name] / gpu.clock_hz)
    return ticks * (tick_s + LOAD_S / kernel.launch.constants["UNROLL"])
