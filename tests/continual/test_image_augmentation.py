"""Images that are learned are changed by the rule, remembered and measured ones are not, and a run can be left."""

import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from mambrane.app.cli import main, parse_train
from mambrane.continual.image_augmentation import ImageAugmentation
from mambrane.core.errors import UserError
from mambrane.core.seeding import make_generator
from mambrane.core.shapes import IGNORED_TARGET
from mambrane.data.batch import MicroBatch
from mambrane.data.config import DataConfig
from mambrane.data.image_tokens import BRIGHTEST, elements_of, elements_of_tokens, tokens_of
from mambrane.data.images import read_image_set
from mambrane.run.run import Run
from mambrane.settings.methods import methods_of
from mambrane.storage.state_files import decode_state, encode_state
from tests.data.idx import write_images

KINDS = ("bits", "patches", "pixels")
MOVED = DataConfig(image_tokens="pixels", image_shift_pixels=1.0, image_rotation_degrees=20.0, image_stretch=0.2)


def augmentation(config=MOVED, rows=6, columns=8):
    return ImageAugmentation(config, rows, columns, seed=0)


def batch_of(elements, kind):
    """Return images as a kind of task reads them: END_OF_TEXT, then their bytes; the label is the only target."""
    tokens_BL = tokens_of(elements, kind).long()
    inputs_BT = torch.cat([torch.full((len(tokens_BL), 1), 256), tokens_BL], dim=1)
    targets_BT = torch.full_like(inputs_BT, IGNORED_TARGET)
    targets_BT[:, -1] = 85
    return MicroBatch(inputs_BT, targets_BT, inputs_BT == 256)


def some_elements(kind, num_images=5):
    draw = torch.randint(0, BRIGHTEST[kind] + 1, (num_images, 6, 8), generator=make_generator(0, "images"))
    return draw.to(torch.uint8)


def matrix_of(angle=0.0, stretch=(1.0, 1.0), shift=(0.0, 0.0)):
    cos, sin = math.cos(angle), math.sin(angle)
    rows = [cos * stretch[0], -sin * stretch[1], shift[0]], [sin * stretch[0], cos * stretch[1], shift[1]]
    return torch.tensor([rows])


def test_a_shift_a_quarter_turn_and_a_stretch_worked_out_by_hand():
    method = augmentation(rows=3, columns=3)
    image = torch.tensor([[[10, 20, 30], [40, 50, 60], [70, 80, 90]]], dtype=torch.uint8)
    # What is written at a place is read one column to the right; beyond the edge all is black.
    assert method.changed(image, matrix_of(shift=(1.0, 0.0))).tolist() == [[[20, 30, 0], [50, 60, 0], [80, 90, 0]]]
    assert method.changed(image, matrix_of(shift=(0.5, 0.0)))[0, 0].tolist() == [15, 25, 15]
    # The upper left is read where column and row (-1, -1) turn to: (1, -1), the upper right.
    assert method.changed(image, matrix_of(angle=math.pi / 2)).tolist() == [[[30, 60, 90], [20, 50, 80], [10, 40, 70]]]
    # Read at half of the way from the middle: between 10 and 50 in both directions.
    assert method.changed(image, matrix_of(stretch=(0.5, 0.5)))[0, 0].tolist() == [30, 35, 40]


@pytest.mark.parametrize("kind", KINDS)
def test_images_change_within_their_kind_and_nothing_else_does(kind):
    config = replace(MOVED, image_tokens=kind)
    batch = batch_of(some_elements(kind), kind)
    mixed = augmentation(config).mix(batch)
    assert not torch.equal(mixed.inputs_BT, batch.inputs_BT)
    assert torch.equal(mixed.inputs_BT[:, 0], batch.inputs_BT[:, 0])
    assert torch.equal(mixed.targets_BT, batch.targets_BT)
    assert torch.equal(mixed.resets_BT, batch.resets_BT)
    elements = elements_of_tokens(mixed.inputs_BT[:, 1:], kind, 6, 8)
    assert int(elements.max()) <= BRIGHTEST[kind]
    assert elements.unique().numel() > 1


@pytest.mark.parametrize("kind", KINDS)
def test_changes_of_nothing_leave_every_token(kind):
    """The same path with strengths of zero; a run without strengths has no such method at all."""
    config = DataConfig(image_tokens=kind)
    batch = batch_of(some_elements(kind), kind)
    assert torch.equal(augmentation(config).mix(batch).inputs_BT, batch.inputs_BT)


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        ({"image_shift_pixels": 2.0}, lambda m: m[:, :, 2].abs().max() <= 2.0 and m[:, :, 2].abs().max() > 1.5),
        ({"image_shift_pixels": 2.0, "image_tokens": "patches"}, lambda m: 0.75 < m[:, :, 2].abs().max() <= 1.0),
        ({"image_rotation_degrees": 10.0}, lambda m: m[:, 0, 0].min() >= math.cos(math.radians(10.0))),
        ({"image_stretch": 0.1}, lambda m: ((m[:, 0, 0] - 1).abs() <= 0.1 + 1e-6).all() and (m[:, 0, 1] == 0).all()),
    ],
)
def test_each_strength_is_a_limit_in_its_unit_and_moves_nothing_else(changes, limit):
    matrices = augmentation(replace(DataConfig(image_tokens="pixels"), **changes))._draw(500)
    assert limit(matrices)
    assert ("image_shift_pixels" in changes) == bool((matrices[:, :, 2] != 0).any())
    assert ("image_rotation_degrees" in changes) == bool((matrices[:, 1, 0] != 0).any())


def test_a_row_that_is_no_image_stays():
    batch = batch_of(some_elements("pixels"), "pixels")
    batch.inputs_BT[1, 7] = 256
    mixed = augmentation().mix(batch)
    assert torch.equal(mixed.inputs_BT[1], batch.inputs_BT[1])
    assert not torch.equal(mixed.inputs_BT[2], batch.inputs_BT[2])


def test_what_was_drawn_is_drawn_again_after_undoing_and_after_a_restart():
    method, batch = augmentation(), batch_of(some_elements("pixels"), "pixels")
    method.mix(batch)
    saved, undo = encode_state(method.state_dict()), method.undo_point()
    first = method.mix(batch).inputs_BT
    assert not torch.equal(method.mix(batch).inputs_BT, first)
    undo()
    assert torch.equal(method.mix(batch).inputs_BT, first)
    another = augmentation()
    another.load_state_dict(decode_state(*saved))
    assert torch.equal(another.mix(batch).inputs_BT, first)


SMALL = (
    "--preset tiny --task vision --epochs 4 --hidden-dim 16 --num-layers 1 --spiking-units 8 --mamba-d-state 4 "
    "--batch-size 8 --save-every 2 --use-replay --replay-buffer-size 16"
)


def test_a_run_that_is_stopped_goes_on_with_the_same_changes_and_remembers_images_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setenv("MAMBRANE_CACHE", str(tmp_path / "cache"))
    data = write_images(tmp_path / "shapes")
    words = ["train", *SMALL.split(), "--data", str(data), "--image-shift-pixels", "1"]
    matrices = {}
    for name, stops in {"whole": [[]], "stopped": [["--max-steps", "7"], []]}.items():
        for more in stops:
            assert main([*words, "--output-dir", str(tmp_path / name), *more]) == 0
        matrices[name] = Run.open(tmp_path / name).matrix.values
    assert matrices["stopped"] == matrices["whole"]
    newest = max((tmp_path / "whole" / "checkpoints").iterdir())
    remembered = load_file(newest / "extensions.safetensors")["/replay/buffer/inputs"][:, 1:].tolist()
    images = read_image_set(str(data)).train.images
    known = tokens_of(elements_of(torch.tensor(images), "bits"), "bits").tolist()
    assert len(remembered) == 16
    assert all(tokens in known for tokens in remembered)
    plain = [*words[:-2], "--output-dir", str(tmp_path / "plain")]
    assert main(plain) == 0
    assert Run.open(tmp_path / "plain").matrix.values != matrices["whole"]


def test_it_is_a_method_of_a_run_that_asks_for_it_and_of_no_other(tmp_path):
    data = str(write_images(tmp_path / "shapes"))
    words = ["--preset", "tiny", "--task", "vision", "--data", data]
    assert ImageAugmentation not in methods_of(parse_train(words))
    assert ImageAugmentation.label_in(parse_train(words)) == "image augmentation"
    assert ImageAugmentation.label_in(parse_train(["--preset", "tiny"])) == ""
    for flag in ("--image-shift-pixels", "--image-rotation-degrees", "--image-stretch"):
        assert ImageAugmentation in methods_of(parse_train([*words, flag, "0.5"]))


@pytest.mark.parametrize(
    "words",
    [
        "--dark-replay-strength 0.5",
        "--replay-label-strength 0.5",
        "--replay-strategy importance",
        "--use-meta-plasticity --meta-row-rate 0.5",
    ],
)
def test_methods_that_must_know_an_image_again_are_refused(tmp_path, words):
    data = str(write_images(tmp_path / "shapes"))
    given = ["--preset", "tiny", "--task", "vision", "--data", data, "--use-replay", *words.split()]
    parse_train(given)
    with pytest.raises(UserError, match="images that change"):
        parse_train([*given, "--image-stretch", "0.1"])
