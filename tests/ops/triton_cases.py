"""Small calls of every operation with a Triton form: what the tests of all of them run, and where they run.

On a machine with a GPU the kernels are compiled and run there; elsewhere Triton's interpreter runs them on the CPU, so
sizes are small, and the constants that cut an operation into blocks are made small with them.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mambrane.core.seeding import make_generator
from mambrane.ops import (
    CfcWeights,
    LtcWeights,
    causal_conv,
    causal_trace,
    cfc,
    gated_norm,
    gated_skip,
    lif,
    ltc,
    selective_scan,
    ssd,
)
from tests.ops.tolerances import RATIO

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BATCH = 2


class Case(NamedTuple):
    """One way to call an operation. Inputs with T in their name have tokens along axis 1."""

    operation: str
    run: Callable[..., tuple[Tensor, ...]]
    """Of the inputs by name and of backend; the first output has tokens along axis 1."""
    shapes: dict[str, tuple[int, ...]]
    """Shape of each input; -1 stands for the number of tokens."""
    state: str | None = None
    """The input that holds the state before; the last output is the state behind."""
    tokens: int = 11
    """What the tests run: fewer where a token takes the interpreter long."""
    ratio: float = RATIO[torch.float32]
    """How far float32 may be from the reference."""
    coarser_in_bfloat16: int = 1
    """How many times as far bfloat16 may be: where factors of products are rounded too."""
    is_exact: bool = False
    """The numbers of a text in pieces are those of the whole, and those of the reference, bit for bit."""


def make_inputs(
    case: Case, tokens: int, dtype: torch.dtype = torch.float32, *, resets: bool = False
) -> dict[str, Tensor]:
    """Return the inputs of a case: normal numbers, rates and decays in the range that they are for."""
    generator = make_generator(0, case.operation)
    inputs = {}
    for name, shape in case.shapes.items():
        normal = torch.randn([tokens if size < 0 else size for size in shape], generator=generator)
        inputs[name] = _in_range(name, normal).to(dtype if "state" not in name else torch.float32).to(DEVICE)
    if resets:
        resets_BT = torch.zeros(BATCH, tokens, dtype=torch.bool)
        resets_BT[0, :1], resets_BT[0, 3:5], resets_BT[1, -2:] = True, True, True
        inputs["resets_BT"] = resets_BT.to(DEVICE)
    return inputs


def _in_range(name: str, normal: Tensor) -> Tensor:
    if name.startswith("delta"):
        return normal.exp() * 0.3
    if name.startswith("elapsed") or name in ("w", "sensory_w", "cm", "gleak"):
        return normal.exp()
    if name in ("A_EN", "A_H"):
        return -normal.exp()
    if name.endswith("weight") and not name.endswith("_EK"):
        return normal * 0.5
    return normal.sigmoid() if name.startswith("decay") else normal


def use_small_blocks(monkeypatch: Any) -> None:
    """Cut operations into blocks so small that small tensors have several of each kind."""
    if DEVICE == "cuda":
        return
    for operation, constants in SMALL_BLOCKS.items():
        module = import_module(f"mambrane.ops.{operation}.triton_gpu")
        for name, value in constants.items():
            monkeypatch.setattr(module, name, value)


SMALL_BLOCKS = {
    "selective_scan": {"CHUNK_TOKENS": 4, "UNROLLED_TOKENS": 2, "BLOCK_CHANNELS": 4, "BLOCK_PASSED": 8, "PROGRAMS": 6},
    "lif": {"BLOCK_UNITS": 4, "UNROLLED_TICKS": 4, "UNROLLED_TICKS_BACK": 4},
    "causal_trace": {"BLOCK_UNITS": 4, "UNROLLED_TOKENS": 4},
    "gated_skip": {"BLOCK_TOKENS": 4, "BLOCK_CHANNELS": 4},
    "gated_norm": {"PROGRAMS": 3},
    "spike_pairs": {"BLOCK_UNITS": 4, "UNROLLED_TICKS": 4},
    "cfc": {"LARGEST_BLOCK": 4},
    "ltc": {"BLOCK_UNITS": 4, "PROGRAMS": 4},
    "ssd": {"CHUNK_TOKENS": 4, "FLOAT32_CHUNK_TOKENS": 4, "SMALLEST_SIDE": 4, "BLOCK_STATES": 4, "PROGRAMS": 4},
    "causal_conv": {"BLOCK_TOKENS": 4, "BLOCK_CHANNELS": 4},
}


def _lif_case(shape_of_decay: tuple[int, ...], **options: Any) -> Case:
    def run(**inputs: Any) -> tuple[Tensor, ...]:
        decay = inputs.pop("decay_BTS" if len(shape_of_decay) == 3 else "decay_S")
        outputs = lif(decay=decay, **inputs, **options)
        return tuple(each for each in outputs if each is not None)

    decay = "decay_BTS" if len(shape_of_decay) == 3 else "decay_S"
    shapes = {"current_BTS": (BATCH, -1, 5), decay: shape_of_decay, "state_BS": (BATCH, 5)}
    return Case("lif", run, shapes, "state_BS", is_exact=True)


def _conv_case(taps: int, activation: str | None) -> Case:
    def run(**inputs: Any) -> tuple[Tensor, ...]:
        return causal_conv(**inputs, activation=activation)

    shapes = {"x_BTE": (BATCH, -1, 5), "weight_EK": (5, taps), "bias_E": (5,), "state_BEK": (BATCH, 5, taps - 1)}
    return Case("causal_conv", run, shapes, "state_BEK")


_TRACE = {"x_BTS": (BATCH, -1, 5), "state_BS": (BATCH, 5)}


def _trace_with_number(**inputs: Any) -> tuple[Tensor, ...]:
    return causal_trace(inputs.pop("x_BTS"), 0.8, **inputs)


def _trace_with_tensor(**inputs: Any) -> tuple[Tensor, ...]:
    return causal_trace(inputs.pop("x_BTS"), inputs.pop("decay_S"), **inputs)


_SCAN = {
    "x_BTE": (BATCH, -1, 5),
    "delta_BTE": (BATCH, -1, 5),
    "A_EN": (5, 3),
    "B_BTN": (BATCH, -1, 3),
    "C_BTN": (BATCH, -1, 3),
    "state_BEN": (BATCH, 5, 3),
}

_SSD = {
    "x_BTHP": (BATCH, -1, 2, 3),
    "delta_BTH": (BATCH, -1, 2),
    "A_H": (2,),
    "B_BTN": (BATCH, -1, 5),
    "C_BTN": (BATCH, -1, 5),
    "state_BHPN": (BATCH, 2, 3, 5),
}


def _gated_skip(**inputs: Any) -> tuple[Tensor, ...]:
    inputs.pop("resets_BT", None)
    return (gated_skip(**inputs),)


def _gated_norm(**inputs: Any) -> tuple[Tensor, ...]:
    inputs.pop("resets_BT", None)
    return (gated_norm(**inputs),)


_NORM = {"y_BTE": (BATCH, -1, 6), "gate_BTE": (BATCH, -1, 6), "weight_E": (6,)}
_SKIP = {"y_BTE": (BATCH, -1, 5), "x_BTE": (BATCH, -1, 5), "skip_E": (5,), "gate_BTE": (BATCH, -1, 5)}


def _cfc_case(*elapsed: int) -> Case:
    heads = ("ff1", "ff2", "time_a", "time_b")
    shapes = {"x_BTI": (BATCH, -1, 3), "backbone_weight": (5, 3 + 3), "backbone_bias": (5,)}
    shapes |= {f"{head}_weight": (3, 5) for head in heads} | {f"{head}_bias": (3,) for head in heads}
    shapes |= {"elapsed_BT": elapsed} if elapsed else {}

    def run(**inputs: Any) -> tuple[Tensor, ...]:
        weights = CfcWeights(**{name: inputs.pop(name) for name in CfcWeights._fields})
        return cfc(inputs.pop("x_BTI"), weights, **inputs)

    return Case("cfc", run, shapes | {"state_BL": (BATCH, 3)}, "state_BL", tokens=5)


def _ltc_case(*elapsed: int) -> Case:
    synapses, units = ("w", "mu", "sigma", "erev"), ("cm", "gleak", "vleak")
    shapes = {"x_BTI": (BATCH, -1, 5), "input_weight": (5,), "input_bias": (5,), "state_BL": (BATCH, 3)}
    shapes |= {f"sensory_{name}": (5, 3) for name in synapses} | dict.fromkeys(synapses, (3, 3))
    shapes |= dict.fromkeys(units, (3,)) | ({"elapsed_BT": elapsed} if elapsed else {})

    def run(**inputs: Any) -> tuple[Tensor, ...]:
        weights = LtcWeights(**{name: inputs.pop(name) for name in LtcWeights._fields})
        return ltc(inputs.pop("x_BTI"), weights, **inputs)

    # The gradient of cm is a sum that cancels almost to nothing.
    return Case("ltc", run, shapes, "state_BL", tokens=3, ratio=1e-4)


CASES = {
    "scan": Case("selective_scan", selective_scan, _SCAN, "state_BEN"),
    "lif": _lif_case((5,)),
    "lif, zero, atan, detached": _lif_case((5,), reset="zero", surrogate="atan", detach_reset=True, threshold=0.8),
    "lif, decays of tokens, zero": _lif_case((BATCH, -1, 5), reset="zero", keep_membranes=True),
    "lif, decays of tokens, atan": _lif_case(
        (BATCH, -1, 5), surrogate="atan", surrogate_slope=2.0, keep_membranes=True
    ),
    "trace, one decay": Case("causal_trace", _trace_with_number, _TRACE, "state_BS", is_exact=True),
    "trace, decays": Case("causal_trace", _trace_with_tensor, _TRACE | {"decay_S": (5,)}, "state_BS", is_exact=True),
    "cfc": _cfc_case(BATCH, -1),
    "cfc, time of units": _cfc_case(BATCH, -1, 3),
    "cfc, even time": _cfc_case(),
    "ltc": _ltc_case(BATCH, -1),
    "ltc, time of units": _ltc_case(BATCH, -1, 3),
    "ltc, even time": _ltc_case(),
    "ssd": Case("ssd", ssd, _SSD, "state_BHPN", coarser_in_bfloat16=2),
    "ssd with skip": Case("ssd", ssd, _SSD | {"skip_H": (2,)}, "state_BHPN"),
    "gated skip": Case("gated_skip", _gated_skip, _SKIP),
    "gated norm": Case("gated_norm", _gated_norm, _NORM),
    "gated norm, groups": Case("gated_norm", partial(_gated_norm, groups=2), _NORM),
    "conv": _conv_case(4, "silu"),
    "conv, one tap": _conv_case(1, "silu"),
    "conv, bare": _conv_case(6, None),
}
