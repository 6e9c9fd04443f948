"""Images become bytes, and bytes the elements that they hold."""

import numpy as np
import pytest
import torch

from mambrane.data.image_tokens import BRIGHTEST, ELEMENT_PIXELS, elements_of, elements_of_tokens, tokens_of

KINDS = ("bits", "patches", "pixels")


def images(num_images=3, rows=5, columns=9):
    draw = np.random.default_rng(0).integers(0, 256, size=(num_images, rows, columns), dtype=np.uint8)
    return torch.tensor(draw)


def test_a_square_of_four_pixels_is_its_mean_in_four_greys():
    image = torch.tensor(
        [[[0, 255, 255, 255], [0, 0, 255, 255], [128, 128, 0, 0], [128, 127, 0, 3]]], dtype=torch.uint8
    )
    # Means 63.75, 255, 127.75 and 0.75.
    assert elements_of(image, "patches").tolist() == [[[0, 3], [1, 0]]]
    assert tokens_of(elements_of(image, "patches"), "patches").tolist() == [[0b00_11_01_00]]


def test_a_byte_of_bits_is_eight_pixels_in_reading_order():
    image = torch.tensor([[[127, 128, 0, 255], [0, 0, 0, 200], [255, 0, 0, 0]]], dtype=torch.uint8)
    assert tokens_of(elements_of(image, "bits"), "bits").tolist() == [[0b0101_0001, 0b1000_0000]]


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_hold_the_elements_that_they_were_made_of(kind):
    elements = elements_of(images(num_images=40), kind)
    assert int(elements.max()) == BRIGHTEST[kind]
    assert elements_of_tokens(tokens_of(elements, kind), kind, *elements.shape[1:]).equal(elements)


@pytest.mark.parametrize("kind", KINDS)
def test_an_element_covers_the_pixels_it_says_and_an_edge_of_patches_is_filled_up(kind):
    side = ELEMENT_PIXELS[kind]
    rows, columns = (8, 12) if kind == "patches" else (5, 9)
    assert elements_of(images(), kind).shape == (3, rows // side, columns // side)
