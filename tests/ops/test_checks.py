"""Wrong arguments: one sentence says what was found and wanted, the same from every backend; and empty batches."""

import math

import jaxtyping
import numpy as np
import pytest
import torch

from mambrane.core.errors import UserError
from mambrane.kernels.vectors import WIDE_LANES
from mambrane.ops import (
    CfcWeights,
    KeyValueCache,
    LtcWeights,
    causal_conv,
    causal_trace,
    cfc,
    choose_backend,
    gated_norm,
    gated_skip,
    hold_back_,
    lif,
    linear,
    linear_cross_entropy,
    ltc,
    note_usage_,
    rms_norm,
    selective_scan,
    spike_pairs,
    ssd,
    windowed_attention,
)
from mambrane.ops.dispatch import OPERATIONS
from mambrane.ops.head_gate import head_gate
from mambrane.ops.softplus import softplus
from mambrane.ops.spike_read_out import spike_read_out
from mambrane.ops.steered_decay import steered_decay
from mambrane.ops.sum_of_outer_products import sum_of_outer_products

T, S, N, K, W = 3, 4, 2, 3, 5


def ones(*shape, **options):
    return torch.ones(*shape, **options)


def cfc_weights(**other):
    heads = {
        f"{head}_{part}": ones(*((S, N) if part == "weight" else (S,)))
        for head in ("ff1", "ff2", "time_a", "time_b")
        for part in ("weight", "bias")
    }
    return CfcWeights(**{"backbone_weight": ones(N, 2 * S), "backbone_bias": ones(N)} | heads | other)


def ltc_weights(**other):
    vectors = ("input_weight", "input_bias", "cm", "gleak", "vleak")
    return LtcWeights(**{name: ones(S) if name in vectors else ones(S, S) for name in LtcWeights._fields} | other)


def ring(batch=2, window=W, units=S):
    return KeyValueCache(
        ones(batch, window, units), ones(batch, window, units), torch.ones(batch, window, dtype=torch.bool)
    )


def right(name, B=2, T=T):
    """Return the function of an operation and arguments that it takes."""
    x_BTS, resets_BT = ones(B, T, S), torch.zeros(B, T, dtype=torch.bool)
    scan = {"B_BTN": ones(B, T, N), "C_BTN": ones(B, T, N), "resets_BT": resets_BT}
    return {
        "lif": (lif, {"current_BTS": x_BTS, "decay": ones(S), "state_BS": ones(B, S), "resets_BT": resets_BT}),
        "causal_trace": (causal_trace, {"x_BTS": x_BTS, "decay": 0.5, "state_BS": ones(B, S), "resets_BT": resets_BT}),
        "causal_conv": (
            causal_conv,
            {"x_BTE": x_BTS, "weight_EK": ones(S, K), "bias_E": ones(S), "state_BEK": ones(B, S, K - 1)}
            | {"resets_BT": resets_BT},
        ),
        "gated_norm": (gated_norm, {"y_BTE": x_BTS, "gate_BTE": x_BTS, "weight_E": ones(S)}),
        "gated_skip": (gated_skip, {"y_BTE": x_BTS, "x_BTE": x_BTS, "skip_E": ones(S), "gate_BTE": x_BTS}),
        "selective_scan": (
            selective_scan,
            {"x_BTE": x_BTS, "delta_BTE": x_BTS, "A_EN": -ones(S, N), **scan, "state_BEN": ones(B, S, N)},
        ),
        "ssd": (
            ssd,
            {"x_BTHP": ones(B, T, S, K), "delta_BTH": x_BTS, "A_H": -ones(S), **scan, "state_BHPN": ones(B, S, K, N)},
        ),
        "cfc": (
            cfc,
            {"x_BTI": x_BTS, "weights": cfc_weights(), "state_BL": ones(B, S), "resets_BT": resets_BT}
            | {"elapsed_BT": ones(B, T)},
        ),
        "ltc": (
            ltc,
            {"x_BTI": x_BTS, "weights": ltc_weights(), "state_BL": ones(B, S), "resets_BT": resets_BT}
            | {"elapsed_BT": ones(B, T)},
        ),
        "windowed_attention": (
            windowed_attention,
            {"query_BTI": x_BTS, "key_BTI": x_BTS, "value_BTI": x_BTS, "heads": 2, "window": W, "state": ring(B)}
            | {"resets_BT": resets_BT},
        ),
        "rms_norm": (rms_norm, {"x": x_BTS, "weight_D": ones(S)}),
        "softplus": (softplus, {"x": x_BTS}),
        "head_gate": (
            head_gate,
            {"path_BTD": x_BTS, "u_BTD": x_BTS, "weight_HP": ones(N, S // N), "bias_H": ones(N)},
        ),
        "spike_read_out": (
            spike_read_out,
            {"q_BTE": ones(B, T, S + K), "spikes_BTS": x_BTS, "code_BTS": x_BTS, "second_BTP": ones(B, T, N)}
            | {"gate_R": ones(S + N), "out_R": ones(S + N)},
        ),
        "steered_decay": (steered_decay, {"heard_BTP": x_BTS, "weight_P": ones(S), "log_tau_P": ones(S)}),
        "linear": (linear, {"x": x_BTS, "weight_OI": ones(N, S), "bias_O": ones(N)}),
        "sum_of_outer_products": (sum_of_outer_products, {"left_BO": ones(B, T), "right_BI": ones(B, 2 * WIDE_LANES)}),
        "linear_cross_entropy": (
            linear_cross_entropy,
            {"x_BTD": x_BTS, "weight_VD": ones(K, S), "targets_BT": torch.zeros(B, T, dtype=torch.int64)},
        ),
        "spike_pairs": (
            spike_pairs,
            {"pre": [x_BTS, x_BTS], "post": [ones(B, T, N)] * 2, "decay_plus": 0.5, "decay_minus": 0.5}
            | {"resets_BT": resets_BT, "counted_BT": ~resets_BT},
        ),
        "note_usage_": (
            note_usage_,
            {"usage_W": ones(7), "gradients": [ones(2, 2), ones(3)], "starts": [0, 4], "rate": 0.5},
        ),
        "hold_back_": (
            hold_back_,
            {"weights": [ones(2, 2), ones(3)], "before": [ones(2, 2), ones(3)], "anchor_W": ones(7)}
            | {"share_W": ones(7), "starts": [0, 4]},
        ),
    }[name]


FOLDERS = {"note_usage_": "update_gate", "hold_back_": "update_gate"}
NAMES = [name for name in OPERATIONS if name != "update_gate"] + list(FOLDERS)
WITH_TOKENS = [
    name for name in NAMES if name not in ("linear", "rms_norm", "softplus", "sum_of_outer_products", *FOLDERS)
]
WITHOUT_GRADIENTS = ("spike_pairs", "sum_of_outer_products")

meta, double, whole = {"device": "meta"}, {"dtype": torch.float64}, {"dtype": torch.int64}
HOSTILE = [
    ("lif", {"surrogate": "x"}, 'surrogate is "x"; wanted "fast_sigmoid" or "atan"'),
    ("lif", {"reset": "x"}, 'reset is "x"; wanted "subtract" or "zero"'),
    ("lif", {"reset": None}, "reset is None"),
    ("lif", {"detach_reset": "no"}, 'detach_reset is "no"; wanted False or True'),
    ("lif", {"keep_membranes": 2}, "keep_membranes is 2"),
    ("lif", {"threshold": math.nan}, "threshold is nan; wanted a finite number"),
    ("lif", {"threshold": math.inf}, "threshold is inf"),
    ("lif", {"threshold": 0.0}, "threshold is 0.0"),
    ("lif", {"threshold": -1}, "threshold is -1; wanted a finite number from 0 without 0"),
    ("lif", {"threshold": "1"}, 'threshold is "1"'),
    ("lif", {"threshold": True}, "threshold is True"),
    ("lif", {"surrogate_slope": math.nan}, "surrogate_slope is nan"),
    ("lif", {"surrogate_slope": -5.0}, "surrogate_slope is -5.0"),
    ("lif", {"current_BTS": ones(2, 3)}, "current_BTS has shape [2, 3]; wanted [B, T, S]"),
    ("lif", {"current_BTS": ones(2, T, S, **whole)}, "current_BTS is of int64; wanted float32 or"),
    ("lif", {"current_BTS": np.ones((2, T, S))}, "current_BTS is of type ndarray; wanted a tensor"),
    ("lif", {"current_BTS": ones(2, T, 0), "decay": ones(0), "state_BS": None}, "current_BTS has no numbers: S is 0"),
    ("lif", {"decay": ones(S + 1)}, "decay has shape [5]; wanted [4] or [2, 3, 4]"),
    ("lif", {"decay": ones(2, T + 1, S)}, "decay has shape [2, 4, 4]"),
    ("lif", {"decay": 0.9}, "decay is 0.9; wanted a tensor"),
    ("lif", {"decay": None}, "decay is None; wanted a tensor"),
    ("lif", {"decay": ones(S, **double)}, "decay is of float64 beside current_BTS of float32"),
    ("lif", {"state_BS": ones(1, S)}, "state_BS has shape [1, 4]; wanted [2, 4]"),
    ("lif", {"state_BS": ones(2, S, **meta)}, "state_BS is on meta; wanted cpu"),
    ("lif", {"resets_BT": torch.zeros(2, T)}, "resets_BT is of float32; wanted bool"),
    ("lif", {"resets_BT": torch.zeros(2, T + 1, dtype=torch.bool)}, "resets_BT has shape [2, 4]; wanted [2, 3]"),
    ("causal_trace", {"decay": math.nan}, "decay is nan; wanted a finite number from 0 to 1"),
    ("causal_trace", {"decay": 1.5}, "decay is 1.5"),
    ("causal_trace", {"decay": -0.1}, "decay is -0.1"),
    ("causal_trace", {"decay": ones(S - 1)}, "decay has shape [3]; wanted [4]"),
    ("causal_trace", {"decay": None}, "decay is None"),
    ("causal_trace", {"state_BS": ones(2)}, "state_BS has shape [2]"),
    ("causal_trace", {"resets_BT": torch.zeros(3, T, dtype=torch.bool)}, "resets_BT has shape [3, 3]"),
    ("causal_conv", {"activation": "relu"}, 'activation is "relu"; wanted "silu" or None'),
    ("causal_conv", {"weight_EK": ones(S, 0), "state_BEK": None}, "weight_EK has no numbers: K is 0"),
    ("causal_conv", {"weight_EK": ones(S, 1, K)}, "weight_EK has shape [4, 1, 3]; wanted [4, K]"),
    ("causal_conv", {"bias_E": None}, "bias_E is None"),
    ("causal_conv", {"state_BEK": ones(2, S, K)}, "state_BEK has shape [2, 4, 3]; wanted [2, 4, 2]"),
    ("gated_norm", {"gate_BTE": ones(2, 1, S)}, "gate_BTE has shape [2, 1, 4]; wanted [2, 3, 4]"),
    ("gated_norm", {"weight_E": ones(1)}, "weight_E has shape [1]; wanted [4]"),
    ("gated_skip", {"x_BTE": ones(2, 1, S)}, "x_BTE has shape [2, 1, 4]; wanted [2, 3, 4]"),
    ("gated_skip", {"skip_E": ones(1)}, "skip_E has shape [1]; wanted [4]"),
    ("gated_skip", {"gate_BTE": ones(2, T, S, **meta)}, "gate_BTE is on meta"),
    ("selective_scan", {"delta_BTE": ones(2, T, 1)}, "delta_BTE has shape [2, 3, 1]"),
    ("selective_scan", {"A_EN": ones(N, S)}, "A_EN has shape [2, 4]; wanted [4, N]"),
    ("selective_scan", {"B_BTN": ones(2, T, N + 1)}, "B_BTN has shape [2, 3, 3]; wanted [2, 3, 2]"),
    ("selective_scan", {"C_BTN": ones(1, T, N)}, "C_BTN has shape [1, 3, 2]"),
    ("selective_scan", {"state_BEN": ones(2, S)}, "state_BEN has shape [2, 4]"),
    ("selective_scan", {"A_EN": ones(S, N, **double)}, "A_EN is of float64"),
    ("ssd", {"resets_BT": torch.zeros(2, T - 1, dtype=torch.bool)}, "resets_BT has shape [2, 2]; wanted [2, 3]"),
    ("ssd", {"A_H": ones(S, 1)}, "A_H has shape [4, 1]; wanted [4]"),
    ("ssd", {"x_BTHP": ones(2, T, S)}, "x_BTHP has shape [2, 3, 4]"),
    ("ssd", {"state_BHPN": ones(2, S, K, N + 1)}, "state_BHPN has shape [2, 4, 3, 3]; wanted [2, 4, 3, 2]"),
    ("cfc", {"weights": tuple(cfc_weights())}, "weights is of type tuple; wanted CfcWeights"),
    ("cfc", {"weights": cfc_weights(backbone_weight=ones(N, S))}, "backbone_weight has shape [2, 4]; wanted [2, 8]"),
    ("cfc", {"weights": cfc_weights(time_a_bias=ones(S + 1))}, "time_a_bias has shape [5]; wanted [4]"),
    ("cfc", {"weights": cfc_weights(time_a_bias=None)}, "time_a_bias is None"),
    ("cfc", {"elapsed_BT": ones(2, T, S + 1)}, "elapsed_BT has shape [2, 3, 5]; wanted [2, 3] or [2, 3, 4]"),
    ("ltc", {"weights": ltc_weights(sensory_mu=ones(S, S + 1))}, "sensory_mu has shape [4, 5]; wanted [4, 4]"),
    ("ltc", {"weights": ltc_weights(cm=ones(1))}, "cm has shape [1]"),
    ("ltc", {"elapsed_BT": ones(T)}, "elapsed_BT has shape [3]"),
    ("windowed_attention", {"heads": 3}, "3 heads for 4 numbers; wanted a divisor"),
    ("windowed_attention", {"heads": 0}, "heads is 0; wanted an integer of 1 or more"),
    ("windowed_attention", {"window": -W}, "window is -5; wanted an integer of 1 or more"),
    ("windowed_attention", {"window": 2.5}, "window is 2.5"),
    ("windowed_attention", {"window": W + 1}, "a state of 5 tokens; wanted 6"),
    ("windowed_attention", {"state": tuple(ring())}, "state is of type tuple; wanted KeyValueCache"),
    ("windowed_attention", {"state": ring(units=2)}, "keys_BWI has shape [2, 5, 2]; wanted [2, W, 4]"),
    ("windowed_attention", {"value_BTI": ones(2, T, 1)}, "value_BTI has shape [2, 3, 1]"),
    ("linear", {"weight_OI": ones(N, S + 1)}, "weight_OI has shape [2, 5]; wanted [O, 4]"),
    ("linear", {"bias_O": ones(S)}, "bias_O has shape [4]; wanted [2]"),
    ("linear", {"x": ones(())}, "x has shape []"),
    ("softplus", {"x": ones(2, **whole)}, "x is of int64"),
    ("head_gate", {"weight_HP": ones(N, S)}, "2 heads of 4 numbers for 4; wanted as many as there are"),
    ("head_gate", {"bias_H": ones(S)}, "bias_H has shape [4]; wanted [2], that is [H]"),
    ("spike_read_out", {"out_R": ones(S)}, "out_R has shape [4]; wanted [6], that is [R]"),
    ("spike_read_out", {"code_BTS": None}, "spikes without a code, or a code without spikes; wanted both, or none"),
    ("spike_read_out", {"spikes_BTS": None, "code_BTS": None}, "6 factors for 0 and 2 neurons on 7 channels"),
    ("spike_read_out", {"q_BTE": ones(2, T, S)}, "6 factors for 4 and 2 neurons on 4 channels"),
    ("steered_decay", {"weight_P": ones(N)}, "weight_P has shape [2]; wanted [4], that is [P]"),
    ("sum_of_outer_products", {"left_BO": ones(T)}, "left_BO has shape [3]; wanted [B, O]"),
    (
        "linear",
        {"x": ones(2, T, S, **double)},
        "weight_OI is of float32 beside x of float64; wanted one type, or autocast",
    ),
    ("linear", {"weight_OI": ones(0, S), "bias_O": None}, "weight_OI has no numbers: O is 0"),
    ("linear_cross_entropy", {"targets_BT": torch.zeros(2, T)}, "targets_BT is of float32; wanted int64"),
    ("linear_cross_entropy", {"targets_BT": torch.zeros(T, 2, **whole)}, "targets_BT has shape [3, 2]"),
    ("linear_cross_entropy", {"weight_VD": ones(S, K)}, "weight_VD has shape [4, 3]; wanted [V, 4]"),
    ("linear_cross_entropy", {"x_BTD": ones(2, T, S, **double)}, "weight_VD is of float32 beside x_BTD of float64"),
    ("spike_pairs", {"pre": [], "post": []}, "0 presynaptic tensors, 0 postsynaptic ones"),
    ("spike_pairs", {"post": [ones(2, T, N)]}, "2 presynaptic tensors, 1 postsynaptic ones"),
    ("spike_pairs", {"post": [ones(2, T, N), ones(2, T, S)]}, "post[1] has shape [2, 3, 4]; wanted [2, 3, 2]"),
    ("spike_pairs", {"pre": [ones(2, T, S, dtype=torch.bfloat16)] * 2}, "pre[0] is of bfloat16; wanted float32 or"),
    ("spike_pairs", {"pre": [ones(2, T, S, **double)] * 2}, "post[0] is of float32 beside pre[0] of float64"),
    ("spike_pairs", {"decay_plus": 1.0}, "decay_plus is 1.0; wanted a finite number from 0 to 1 without 1"),
    ("spike_pairs", {"decay_minus": math.nan}, "decay_minus is nan"),
    ("spike_pairs", {"high_x": math.nan}, "high_x is nan"),
    ("spike_pairs", {"counted_BT": torch.ones(2, 1, dtype=torch.bool)}, "counted_BT has shape [2, 1]"),
    ("note_usage_", {"rate": 1.5}, "rate is 1.5"),
    ("note_usage_", {"starts": [0.0, 4]}, "a start of type float; wanted an integer"),
    ("rms_norm", {"eps": -1.0}, "eps is -1.0; wanted a finite number from 0"),
    ("rms_norm", {"eps": math.nan}, "eps is nan"),
    ("rms_norm", {"eps": "x"}, 'eps is "x"'),
    ("note_usage_", {"starts": [0]}, "1 starts for 2 tensors"),
    ("note_usage_", {"starts": [0, 5]}, "a part of 3 numbers from 5 on in a vector of 7"),
    ("note_usage_", {"starts": [-1, 4]}, "a part of 4 numbers from -1 on"),
    ("note_usage_", {"usage_W": ones(14)[::2]}, "a vector whose numbers do not lie side by side"),
    ("note_usage_", {"usage_W": ones(7, **double)}, "a tensor of torch.float32 on cpu; wanted torch.float64"),
    ("hold_back_", {"before": [ones(2, 2)]}, "weights and what was before them differ in shape"),
    ("hold_back_", {"weights": [ones(2, 2).T, ones(6)[::2]]}, "a tensor whose numbers do not lie side by side"),
    ("hold_back_", {"share_W": ones(6)}, "share_W has shape [6]; wanted [7]"),
]


def backends_of(name):
    """Return every backend that runs on a CPU, and "auto"."""
    return ("auto", *(backend for backend in OPERATIONS[FOLDERS.get(name, name)] if backend != "triton"))


def message_of(run, arguments, backend):
    with pytest.raises(UserError) as caught:
        run(**arguments, backend=backend)
    return caught.value.found


@pytest.mark.parametrize(("name", "wrong", "words"), HOSTILE)
def test_a_wrong_argument_gives_the_same_sentence_in_every_backend(without_type_checks, name, wrong, words):
    run, arguments = right(name)
    messages = {message_of(run, arguments | wrong, backend) for backend in backends_of(name)}
    assert len(messages) == 1
    (message,) = messages
    assert message.startswith(f"{FOLDERS.get(name, name)}: {words}")


@pytest.mark.parametrize("name", NAMES)
def test_the_arguments_that_the_hostile_calls_start_from_are_right(name):
    for backend in backends_of(name):
        run, arguments = right(name)
        run(**arguments, backend=backend)


@pytest.mark.parametrize("name", WITH_TOKENS)
def test_no_tokens_are_refused_by_every_operation(without_type_checks, name):
    run, arguments = right(name, T=0)
    messages = {message_of(run, arguments, backend) for backend in backends_of(name)}
    assert len(messages) == 1
    assert " has no numbers: T is 0 in " in messages.pop()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in FOLDERS])
def test_a_batch_of_none_gives_results_of_none_and_gradients_of_zero(name):
    found = []
    for backend in backends_of(name):
        run, arguments = right(name, B=0)
        leaves = [each.requires_grad_() for each in floats(arguments.values())]
        outputs = floats([run(**arguments, backend=backend)])
        if name not in WITHOUT_GRADIENTS:
            sum(output.sum() for output in outputs).backward()
        found.append([*outputs, *(leaf.grad for leaf in leaves)])
    for others in found[1:]:
        for first, other in zip(found[0], others, strict=True):
            assert (first is None) == (other is None)
            assert first is None or torch.equal(first, other)
    assert all(each is None or each.numel() == 0 or not each.any() for each in found[0])


def floats(values):
    """Return every tensor of floating numbers, those inside tuples and lists too, each once."""
    found = {}
    for value in values:
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            found[id(value)] = value
        elif isinstance(value, (tuple, list)):
            found |= {id(each): each for each in floats(value)}
    return list(found.values())


MADE_OTHERWISE = {
    "sparse": lambda each: each.to_sparse(),
    "compressed": lambda each: each.to_sparse_csr() if each.dim() == 2 else each.to_sparse(),
    "nested": lambda each: torch.nested.nested_tensor([each]),
    "jagged": lambda each: torch.nested.nested_tensor([each[None]], layout=torch.jagged),
    "mkldnn": lambda each: each.to_mkldnn(),
    "quantized": lambda each: torch.quantize_per_tensor(each, 0.1, 0, torch.quint8),
    "meta": lambda each: each.to("meta"),
}


def with_one_made_otherwise(arguments, make):
    """Yield the arguments with each floating tensor in turn replaced by one of another kind."""
    for name, value in arguments.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point() and value.dim() > 0:
            yield name, arguments | {name: make(value)}
        elif isinstance(value, list) and value and isinstance(value[0], torch.Tensor):
            yield name, arguments | {name: [make(value[0]), *value[1:]]}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("make", MADE_OTHERWISE.values(), ids=MADE_OTHERWISE)
@pytest.mark.parametrize("name", NAMES)
def test_a_tensor_that_is_not_dense_or_lies_elsewhere_is_refused_in_each_place(without_type_checks, name, make):
    run, arguments = right(name)
    if make is MADE_OTHERWISE["meta"] and len(floats(arguments.values())) == 1:
        pytest.skip("a single tensor lies beside no other")
    # A call that was right is remembered; one that only looks like it must not pass for it.
    run(**arguments)
    places = 0
    for place, changed in with_one_made_otherwise(right(name)[1], make):
        messages = {message_of(run, changed, backend) for backend in backends_of(name)}
        assert len(messages) == 1, place
        places += 1
    assert places > 0


@pytest.mark.parametrize(
    ("name", "place"), [("note_usage_", "usage_W"), ("hold_back_", "weights")], ids=["usage", "weights"]
)
def test_what_is_changed_in_place_must_not_require_a_gradient(without_type_checks, name, place):
    def changed():
        run, arguments = right(name)
        value = arguments[place]
        (value if isinstance(value, torch.Tensor) else value[0]).requires_grad_()
        return run, arguments

    run, _ = changed()
    messages = {message_of(*changed(), backend) for backend in backends_of(name)}
    assert len(messages) == 1
    assert "requires a gradient" in messages.pop()
    with torch.no_grad():
        for backend in backends_of(name):
            run(**changed()[1], backend=backend)
    with torch.inference_mode():
        made_there = right(name)[1]
        run(**made_there)
    assert "inference mode" in message_of(run, made_there, "auto")


@pytest.mark.parametrize("value", [None, 3, "x", np.ones(3), torch.ones(2, 3)], ids=lambda value: type(value).__name__)
@pytest.mark.parametrize(
    ("name", "place"),
    [
        *(("note_usage_", place) for place in ("gradients", "starts")),
        *(("hold_back_", place) for place in ("weights", "before", "starts")),
        *(("spike_pairs", place) for place in ("pre", "post")),
    ],
)
def test_something_else_in_place_of_a_list_or_in_it_is_refused(without_type_checks, name, place, value):
    run, arguments = right(name)
    message_of(run, arguments | {place: value}, "auto")
    if not isinstance(value, torch.Tensor) and not (place == "starts" and type(value) is int):
        message_of(run, arguments | {place: [value, *arguments[place][1:]]}, "auto")


def test_the_backends_compared_are_those_that_a_cpu_runs():
    for name in NAMES:
        assert choose_backend(FOLDERS.get(name, name), torch.device("cpu")) in backends_of(name)


@pytest.mark.parametrize(
    "value", [[], {}, ("auto",), torch.ones(2), 5, None, b"auto"], ids=lambda value: type(value).__name__
)
def test_a_backend_or_an_option_that_is_no_text_is_refused(monkeypatch, value):
    # Without the type checker of the tests, as users are.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    run, arguments = right("lif")
    for name in ("backend", "surrogate", "reset"):
        with pytest.raises(UserError, match="lif"):
            run(**arguments | {name: value})
