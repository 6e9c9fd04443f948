"""How much of a held-out text stands in training text."""

import numpy as np
import pytest

from mambrane.core.events import EventLog
from mambrane.data.domains import load_domains
from mambrane.data.overlap import in_several, lines_of, measure_overlap, passages_of
from tests.data.texts import config_for, kinds, lines, recording_log, write_files

NOVEL = " ".join(f"word{number * 7919 % 1000} follows another" for number in range(400)).encode()


def measure(heldout, train):
    lines = np.unique(lines_of(train).hashes)
    passages = np.unique(np.concatenate([passages_of(text) for text in train]))
    return measure_overlap(heldout, lines, passages)


def test_a_line_counts_from_twenty_bytes_on_without_the_space_around_it():
    train = [b"x" * 19 + b"\n" + b"y" * 20 + b"\n"]
    assert measure([b"x" * 19 + b"\n"], train).overlap_ratio == 0
    assert measure([b"    " + b"y" * 20 + b"  \n" + b"z" * 13], train).overlap_ratio == 0.5


def test_lines_are_counted_in_bytes_of_all_held_out_text():
    train = [b"this line stands in both of them\nthis one does not\n"]
    heldout = [b"this line stands in both of them\n", b"a line that nobody has seen before\n" * 2]
    assert measure(heldout, train).overlap_ratio == pytest.approx(32 / (33 + 70))


@pytest.mark.parametrize("change", [lambda text: text.replace(b" ", b"\n"), lambda text: b"Another title\n" + text])
def test_a_text_wrapped_anew_or_with_another_head_is_a_near_duplicate(change):
    overlap = measure([change(NOVEL)], [NOVEL])
    assert overlap.near_duplicate_ratio == 1
    assert measure([NOVEL[::-1]], [NOVEL]).near_duplicate_ratio == 0


def test_a_document_is_a_near_duplicate_from_half_of_its_passages_on():
    other = NOVEL[::-1]
    assert measure([NOVEL[:4000] + other[:2000]], [NOVEL]).near_duplicate_ratio == 1
    assert measure([NOVEL[:2000] + other[:4000]], [NOVEL]).near_duplicate_ratio == 0


def test_about_one_passage_in_32_is_kept_and_pieces_do_not_matter(monkeypatch):
    text = np.random.default_rng(0).integers(97, 123, size=200_000, dtype=np.uint8).tobytes()
    whole = passages_of(text)
    assert 0.8 < 32 * len(whole) / len(text) < 1.2
    monkeypatch.setattr("mambrane.data.overlap._PIECE_BYTES", 1000)
    assert np.array_equal(passages_of(text), whole)


def test_short_and_empty_texts_have_no_passages():
    assert len(passages_of(b"")) == len(passages_of(b"short")) == 0
    assert measure([b""], [b"short"]) == (0, 0)


def test_hashes_in_two_parts_are_found_but_not_those_that_one_part_holds_twice():
    assert in_several([np.array([1, 1, 2]), np.array([2, 3])]).tolist() == [2]
    assert in_several([]).tolist() == []


def test_every_domain_is_compared_with_the_training_text_of_all(tmp_path):
    """The end of the second file, which is held out, stands in the middle of the first."""
    common = lines("both of the files hold this", 40)
    texts = {
        "a.txt": lines("first", 200) + common + lines("end of the first", 200),
        "b.txt": lines("second", 300) + common,
    }
    log, events = recording_log()
    _, (first, second) = load_domains(config_for(write_files(tmp_path / "text", texts)), tmp_path / "cache", log)
    assert first.overlap_ratio == 0
    assert second.overlap_ratio > 0.9
    assert "held-out text of b: 9" in kinds(events, "heldout_text_repeats_training_text")[0]["message"]
    assert [event["overlap_ratio"] for event in kinds(events, "domain")] == [first.overlap_ratio, second.overlap_ratio]


def test_a_document_of_an_earlier_domain_is_left_out_of_later_ones(tmp_path):
    texts = {f"{domain}/{number}.txt": lines(f"{number} of all", 30) for domain in "ab" for number in range(20)}
    texts |= {f"b/own{number}.txt": lines(f"{number} of b alone", 30) for number in range(20)}
    root = write_files(tmp_path / "text", texts)
    _, (first, second) = load_domains(config_for(root), tmp_path / "cache", EventLog())
    assert len(first.record["files"]) == 20
    assert {file["path"] for file in second.record["files"]} == {f"own{number}.txt" for number in range(20)}
