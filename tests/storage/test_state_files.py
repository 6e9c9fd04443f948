"""A state tree comes back from its two files exactly, and equal states give equal bytes."""

import json
import math
import pickle

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mambrane.storage.state_files import decode_state, encode_state, read_safetensors, safetensors_chunks

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
    torch.uint16,
    torch.uint32,
    torch.uint64,
    torch.complex64,
    torch.complex128,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
]


def assert_same_state(found, wanted):
    """Equal in kind and value; nan equals nan, 0.0 does not equal -0.0."""
    assert type(found) is type(wanted), (found, wanted)
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for key in wanted:
            assert_same_state(found[key], wanted[key])
    elif isinstance(wanted, list):
        assert len(found) == len(wanted)
        for left, right in zip(found, wanted, strict=True):
            assert_same_state(left, right)
    elif isinstance(wanted, torch.Tensor):
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
        assert raw_bytes(found) == raw_bytes(wanted)
    elif isinstance(wanted, float):
        assert math.copysign(1, found) == math.copysign(1, wanted) or math.isnan(wanted)
        assert found == wanted or (math.isnan(found) and math.isnan(wanted))
    else:
        assert found == wanted


def raw_bytes(tensor):
    return bytes(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy())


def through_files(state, folder):
    """Write a state to two files and read it back."""
    encoded = encode_state(state)
    (folder / "part.json").write_bytes(encoded.json)
    (folder / "part.safetensors").write_bytes(b"".join(bytes(c) for c in safetensors_chunks(encoded.tensors)))
    return decode_state((folder / "part.json").read_bytes(), read_safetensors(folder / "part.safetensors"))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (5,), (2, 3)], ids=str)
def test_a_tensor_of_any_type_and_shape_comes_back_bit_for_bit(tmp_path, dtype, shape):
    generator = torch.Generator().manual_seed(1)
    num_bytes = math.prod(shape) * dtype.itemsize
    values = torch.randint(0, 2, (num_bytes,), dtype=torch.uint8, generator=generator)
    tensor = values.view(dtype).reshape(shape)
    assert_same_state(through_files({"here": [tensor]}, tmp_path), {"here": [tensor]})


def test_scalars_come_back_exactly(tmp_path):
    state = {
        "floats": [0.1, -0.0, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, math.nan],
        "integers": [0, -1, 2**63, -(2**200)],
        "truths": [True, False, None],
        "text": ["", "naïve\n\0", "\ud800", "🐍"],
        "empty": [{}, [], {"": {}}],
    }
    assert_same_state(through_files(state, tmp_path), state)


def test_a_key_that_looks_like_a_mark_is_only_a_key(tmp_path):
    state = {"$tensor": 1, "$": {"$float": "nan"}, "$$x": 2, "a/b": torch.ones(1), "a": {"b": torch.zeros(1)}}
    state["~1"], state["/"] = torch.full((1,), 2.0), torch.full((1,), 3.0)
    assert_same_state(through_files(state, tmp_path), state)


def test_integer_keys_as_an_optimizer_has_them_come_back(tmp_path):
    parameter = torch.nn.Parameter(torch.ones(2, 3))
    optimizer = torch.optim.AdamW([parameter])
    parameter.grad = torch.full((2, 3), 0.5)
    optimizer.step()
    state = optimizer.state_dict()
    restored = through_files(state, tmp_path)
    assert restored["state"].keys() == {0}
    assert_same_state(restored["state"], state["state"])
    torch.optim.AdamW([parameter]).load_state_dict(restored)


def test_numpy_numbers_and_tuples_become_plain_ones(tmp_path):
    state = {"a": (np.float32(0.1), np.int64(3), np.bool_(True)), "b": np.float64("inf")}
    assert_same_state(through_files(state, tmp_path), {"a": [float(np.float32(0.1)), 3, True], "b": math.inf})


def test_tensors_that_share_memory_come_back_with_the_same_values(tmp_path):
    base = torch.arange(12.0)
    state = {"whole": base, "same": base, "part": base[2:6], "strided": base.reshape(3, 4).t(), "sparse": base[::3]}
    assert_same_state(through_files(state, tmp_path), state)


def test_lazily_conjugated_and_negated_tensors_come_back_with_their_values(tmp_path):
    lazy = torch.tensor([1 + 2j, 3 - 4j]).conj()
    restored = through_files({"conjugated": lazy, "negated": lazy.imag}, tmp_path)
    assert torch.equal(restored["conjugated"], torch.tensor([1 - 2j, 3 + 4j]))
    assert torch.equal(restored["negated"], torch.tensor([-2.0, 4.0]))


def test_a_generator_continues_where_it_was(tmp_path):
    generator = torch.Generator().manual_seed(7)
    torch.rand(13, generator=generator)
    restored = through_files({"generator": generator.get_state()}, tmp_path)
    twin = torch.Generator()
    twin.set_state(restored["generator"])
    assert torch.equal(torch.randn(100, generator=generator), torch.randn(100, generator=twin))


def test_equal_states_give_equal_bytes_whatever_the_order_of_their_keys():
    one = encode_state({"b": 1, "a": {"y": torch.ones(2), "x": torch.zeros(3)}, "n": {2: "c", 1: "d"}})
    other = encode_state({"n": {1: "d", 2: "c"}, "a": {"x": torch.zeros(3), "y": torch.ones(2)}, "b": 1})
    assert one.json == other.json
    assert [bytes(c) for c in safetensors_chunks(one.tensors)] == [bytes(c) for c in safetensors_chunks(other.tensors)]


def test_a_weight_file_is_what_the_safetensors_library_writes():
    generator = torch.Generator().manual_seed(1)
    tensors = {f"layer.{i}.weight": torch.randn(3, i, generator=generator) for i in range(12)}
    tensors["norm.weight"] = torch.ones((), dtype=torch.float64)
    tensors["mask"] = torch.tensor([True, False, True])
    ours = b"".join(bytes(chunk) for chunk in safetensors_chunks(tensors, {"format": "pt"}))
    loaded = safetensors.torch.load(ours)
    assert_same_state(loaded, tensors)
    assert ours == safetensors.torch.save(tensors, metadata={"format": "pt"})


def test_a_copied_state_does_not_follow_later_changes():
    weight = torch.zeros(3)
    copied, shown = encode_state({"w": weight}, copy=True), encode_state({"w": weight})
    weight += 1
    assert torch.equal(copied.tensors["/w"], torch.zeros(3))
    assert torch.equal(shown.tensors["/w"], torch.ones(3))


@pytest.mark.parametrize(
    "stranger",
    [object(), b"bytes", {1, 2}, np.ones(2), torch.ones(2).to_sparse(), torch.ones(2, device="meta"), {1: 1, "a": 2}],
    ids=["object", "bytes", "set", "array", "sparse", "meta", "mixed keys"],
)
def test_what_is_no_state_is_refused_with_its_place(stranger):
    with pytest.raises(TypeError, match="/outer/1"):
        encode_state({"outer": [0, stranger]})


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\x80\x04N.",
        b"[NaN]",
        b'{"$tensor": "/missing"}',
        b'{"$tensor": []}',
        b'{"$surprise": 1}',
        b'{"a": {"$tensor": "/a"}, "b": {"$tensor": "/a"}}',
        b'{"a": {"$tensor": "/a", "dtype": "load", "shape": [1]}}',
        b"{}",
        b"[" * 100_000,
    ],
)
def test_bytes_that_are_no_state_are_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        decode_state(text, {"/a": torch.ones(1)})


def test_a_pickle_is_not_a_tensor_file(tmp_path):
    (tmp_path / "part.safetensors").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(ValueError, match="not a safetensors file"):
        read_safetensors(tmp_path / "part.safetensors")


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.lists(st.floats(width=32), max_size=3).map(lambda values: torch.tensor(values, dtype=torch.float32)),
)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=4) | st.sampled_from(["$", "$float", "/", "~", "~0"])
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(KEYS, inner, max_size=4),
        st.dictionaries(st.integers(), inner, min_size=1, max_size=3),
    ),
    max_leaves=12,
)


@settings(max_examples=200, derandomize=True)
@given(tree=TREES)
def test_any_state_tree_comes_back_as_it_was(tree, tmp_path_factory):
    state = {"root": tree}
    restored = through_files(state, tmp_path_factory.mktemp("tree"))
    assert_same_state(restored, state)
    assert encode_state(restored).json == encode_state(state).json
    json.loads(encode_state(state).json)
