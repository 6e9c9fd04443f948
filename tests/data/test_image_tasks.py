"""Images become documents of bytes, and their classes tasks, as the scenarios say."""

from dataclasses import replace

import numpy as np
import pytest

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.data.config import DataConfig
from mambrane.data.domains import load_domains
from mambrane.data.image_tasks import image_corpora, label_bytes, num_image_tasks, task_names, tokens_per_image
from mambrane.data.images import read_image_set
from tests.data.idx import write_images, write_split


@pytest.fixture
def config(tmp_path):
    return DataConfig(data=(str(write_images(tmp_path / "shapes")),))


def corpora_of(config, tmp_path, num_domains=None):
    return image_corpora(config, tmp_path / "cache", EventLog(), num_domains)


def loaded(config, tmp_path, num_domains=None):
    """Return the domains, and by its kind what was said last."""
    events, said = EventLog(), {}
    events.listeners.append(lambda event: said.update({event["event"]: {**event}}))
    _, domains = load_domains(config, tmp_path / "cache", events, num_domains)
    return domains, {kind: {k: v for k, v in e.items() if k not in ("event", "time_s")} for kind, e in said.items()}


def test_a_task_has_the_images_of_its_classes_and_no_others(config, tmp_path):
    first, second = corpora_of(config, tmp_path)
    assert [corpus.name for corpus in (first, second)] == ["shapes-0-1", "shapes-2-3"]
    assert [len(list(corpus.documents("train"))) for corpus in (first, second)] == [24, 24]
    assert [len(list(corpus.documents("heldout"))) for corpus in (first, second)] == [8, 8]


def test_a_byte_holds_eight_pixels_and_the_last_is_the_label(config, tmp_path):
    images = read_image_set(config.data[0]).train
    documents = list(corpora_of(config, tmp_path)[0].documents("train"))
    bits = np.unpackbits(np.frombuffer(documents[0][:-1], dtype=np.uint8))
    assert (bits.reshape(4, 4) == (images.images[0] >= 128)).all()
    assert documents[0][-1] == label_bytes(2)[0]
    assert tokens_per_image(config) == 1 + 2


def test_a_byte_is_a_pixel_where_it_should_be(config, tmp_path):
    config = replace(config, image_tokens="pixels")
    images = read_image_set(config.data[0]).train
    assert next(corpora_of(config, tmp_path)[0].documents("train"))[:-1] == images.images[0].tobytes()
    assert tokens_per_image(config) == 1 + 16


def test_a_byte_is_a_square_in_four_greys(config, tmp_path):
    """Worked out by hand: quarters with means 0, 63.75, 64 and 255, and a second square that is half off the image."""
    square = [[0, 0, 0, 255, 255, 255], [0, 0, 0, 0, 255, 255], [64, 64, 255, 255, 0, 0], [64, 64, 255, 255, 0, 0]]
    images = np.array([square, np.zeros((4, 6))], dtype=np.uint8)
    for split in ("train", "t10k"):
        write_split(tmp_path, split, images, np.array([0, 1]))
    config = replace(config, data=(str(tmp_path),), image_tokens="patches")
    documents = list(corpora_of(config, tmp_path)[0].documents("train"))
    assert documents[0][:-1] == bytes([0b00_00_01_11, 0b11_00_00_00])
    assert documents[1][:-1] == bytes(2)
    assert tokens_per_image(config) == 1 + 2


@pytest.mark.parametrize(("scenario", "labels"), [("domain", [{0, 1}, {0, 1}]), ("class", [{0, 1}, {2, 3}])])
def test_the_labels_of_a_task_are_those_of_the_scenario(config, tmp_path, scenario, labels):
    number_of = {byte: number for number, byte in enumerate(label_bytes(256))}
    corpora = corpora_of(replace(config, scenario=scenario), tmp_path)
    assert [{number_of[document[-1]] for document in corpus.documents("train")} for corpus in corpora] == labels
    assert [len(corpus.record["labels"]) for corpus in corpora] == ([2, 2] if scenario == "domain" else [4, 4])


def test_classes_that_fill_no_task_are_left_out_and_said(config, tmp_path):
    few = replace(config, classes_per_task=3)
    assert num_image_tasks(few) == 1
    _, said = loaded(few, tmp_path)
    assert said["classes_left_out"] == {"data": "shapes", "classes": [3], "classes_per_task": 3}
    whole = replace(config, classes_per_task=4)
    assert task_names(whole) == ["shapes-0-1-2-3"]
    assert "classes_left_out" not in loaded(whole, tmp_path)[1]


def test_tasks_behind_the_last_are_said(config, tmp_path):
    first_is_last = replace(config, task_order=("2",))
    assert loaded(first_is_last, tmp_path, 1)[1]["domains_left_out"] == {"names": ["shapes-0-1"]}
    assert "domains_left_out" not in loaded(config, tmp_path, 2)[1]


@pytest.mark.parametrize("labels", [np.repeat([0, 1], 30), np.tile([0, 1], 30), np.repeat([0, 1], [15, 45])])
def test_a_limit_leaves_each_class_its_part_of_the_images_from_all_of_the_set(tmp_path, labels):
    images = np.arange(60 * 4).reshape(60, 2, 2)
    for split in ("train", "t10k"):
        write_split(tmp_path, split, images, labels)
    config = DataConfig(data=(str(tmp_path),), image_tokens="pixels", max_domain_bytes=20 * 5, max_heldout_bytes=4 * 5)
    (corpus,) = corpora_of(config, tmp_path)
    for split, number in (("train", 20), ("heldout", 4)):
        documents = list(corpus.documents(split))
        ones = sum(document[-1] == label_bytes(2)[1] for document in documents)
        assert (len(documents), ones) == (number, number * labels.sum() / len(labels))
    places = [document[0] // 4 for document in corpus.documents("train")]
    assert places == sorted(set(places))
    for label in (0, 1):
        of_label = np.flatnonzero(labels == label)
        chosen = np.searchsorted(of_label, [place for place in places if labels[place] == label])
        assert (chosen == np.arange(len(chosen)) * 3).all()


def test_images_that_a_limit_leaves_out_are_said_in_bytes(config, tmp_path):
    (first, _), said = loaded(replace(config, max_domain_bytes=3 * 5, max_heldout_bytes=3 * 2), tmp_path)
    assert (first.bytes_there, first.bytes_read) == (3 * (24 + 8), 3 * (5 + 8))
    words = said["text_left_out"]["message"]
    assert "39 of 96 bytes of shapes-0-1 are read (--max-domain-bytes 15; 0 reads all)" in words
    assert "18 held-out bytes of shapes-0-1 are not evaluated on (--max-heldout-bytes 6; 0 uses all)" in words


def test_a_limit_that_leaves_nothing_out_changes_nothing(config, tmp_path):
    high = replace(config, max_domain_bytes=3 * 24, max_heldout_bytes=3 * 8)
    (without, said), (within, also_said) = (loaded(each, tmp_path) for each in (config, high))
    assert [domain.content_hash for domain in within] == [domain.content_hash for domain in without]
    assert all(domain.bytes_read == domain.bytes_there == 3 * (24 + 8) for domain in within)
    assert "text_left_out" not in said | also_said


def test_order_number_and_caps_are_those_of_text(config, tmp_path):
    few = replace(config, task_order=("shapes-2-3",), max_domain_bytes=3 * 5, max_heldout_bytes=3 * 2)
    _, domains = load_domains(few, tmp_path / "cache", EventLog(), 2)
    assert [domain.name for domain in domains] == ["shapes-2-3", "shapes-0-1"]
    assert [(domain.train.num_documents, domain.heldout.num_documents) for domain in domains] == [(5, 2), (5, 2)]
    with pytest.raises(UserError, match="2 tasks of 2 classes"):
        load_domains(config, tmp_path / "cache", EventLog(), 3)


def test_images_beside_text_are_refused(config, tmp_path):
    with pytest.raises(UserError, match="images beside other data"):
        load_domains(replace(config, data=(*config.data, "builtin")), tmp_path / "cache", EventLog())


def test_no_two_labels_are_alike():
    assert len(set(label_bytes(256))) == 256
    assert label_bytes(2) == [0x55, 0xAA]
