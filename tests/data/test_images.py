"""Labelled images are read as they were written, and damaged files are refused by name."""

import gzip
import sys

import numpy as np
import pytest

from mambrane.core.errors import UserError
from mambrane.data.images import is_image_data, read_idx, read_image_set, stamp_of
from tests.data.idx import idx_bytes, write_images


@pytest.mark.parametrize("as_gzip", [False, True])
def test_a_folder_of_idx_files_is_read_gzip_or_not(tmp_path, as_gzip):
    images = read_image_set(str(write_images(tmp_path / "shapes", as_gzip=as_gzip)))
    assert (images.name, images.num_classes) == ("shapes", 4)
    assert images.train.images.shape == (48, 4, 4)
    assert images.heldout.images.shape == (16, 4, 4)
    assert (images.train.images[2, 2] == 255).all()
    assert images.train.labels[:4].tolist() == [0, 1, 2, 3]


def test_only_a_folder_with_such_files_is_image_data(tmp_path):
    (tmp_path / "text").mkdir()
    assert not is_image_data((str(tmp_path / "text"),))
    assert not is_image_data(("builtin", "hf:some/set"))
    assert is_image_data((str(write_images(tmp_path / "shapes")),))
    assert is_image_data(("digits",))


def test_a_path_from_the_home_folder_names_images_as_it_names_text(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = write_images(tmp_path / "shapes")
    assert is_image_data(("~/shapes",))
    assert read_image_set("~/shapes").name == "shapes"
    assert stamp_of("~/shapes") == stamp_of(str(folder))
    assert not is_image_data(("~nobody-of-that-name/shapes",))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "begins with nothing"),
        (b"hello, this is a text", "begins with 68656c6c"),
        (idx_bytes(np.zeros((2, 3, 3)))[:-1], "bytes for 2 x 3 x 3 values"),
        (idx_bytes(np.zeros((2, 3, 3))) + b"x", "bytes for 2 x 3 x 3 values"),
        (idx_bytes(np.zeros(3)), "begins with 00000801"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "bytes for 4294967295 x 4294967295 x 4294967295 values"),
        (idx_bytes(np.zeros((0, 3, 3))), "bytes for 0 x 3 x 3 values"),
    ],
)
def test_a_damaged_file_is_refused_with_what_it_holds(tmp_path, content, found):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read_idx(path, 3)
    assert found in error.value.found


def test_a_cut_gzip_file_is_refused(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.zeros((20, 3, 3))))[:-4])
    with pytest.raises(UserError, match="fetch the file again"):
        read_idx(path, 3)


@pytest.mark.parametrize("place", range(10, 60, 3))
def test_a_gzip_file_with_a_damaged_byte_is_refused(tmp_path, place):
    """The first ten bytes are its head, with the time of writing, from which nothing is read."""
    content = bytearray(gzip.compress(idx_bytes(np.arange(180).reshape(20, 3, 3))))
    content[place] ^= 0xFF
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match="fetch the file again"):
        read_idx(path, 3)


def test_a_missing_file_and_labels_without_images_are_refused(tmp_path):
    folder = write_images(tmp_path / "shapes")
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(3)))
    with pytest.raises(UserError, match="3 labels for 16 images"):
        read_image_set(str(folder))
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(UserError, match="no t10k-labels-idx1-ubyte"):
        read_image_set(str(folder))


def test_without_scikit_learn_the_message_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(UserError) as error:
        read_image_set("digits")
    assert "pip install 'mambrane[vision]'" in error.value.way_out


@pytest.mark.peer
def test_the_digits_of_scikit_learn_are_split_and_none_is_in_both():
    pytest.importorskip("sklearn.datasets", exc_type=ImportError)
    digits = read_image_set("digits")
    assert digits.num_classes == 10
    assert (len(digits.train.images), len(digits.heldout.images)) == (1437, 360)
    assert digits.train.images.max() == 255
