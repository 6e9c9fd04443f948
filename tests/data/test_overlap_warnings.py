"""What is said of held-out text that stands in training text."""

import pytest

from mambrane.data.domains import read_texts
from mambrane.data.overlap import Overlap
from mambrane.data.overlap_warnings import overlap_text, overlaps_of, warn_of_overlap
from tests.data.texts import config_for, kinds, lines, recording_log, write_files


@pytest.fixture
def corpora(tmp_path):
    texts = {f"{name}/{part}.txt": lines(f"{name} {part}") for name in ("birds", "fish") for part in "abcdefgh"}
    log, _ = recording_log()
    return read_texts(config_for(write_files(tmp_path / "data", texts)), tmp_path / "cache", log)


def test_next_to_nothing_is_not_worth_a_sentence_and_more_is_told_with_both_parts():
    assert overlap_text("birds", Overlap(0.02, 0.02)) == ""
    assert "birds: 3.0% of it lies in lines that stand" in overlap_text("birds", Overlap(0.03, 0.0))
    assert "birds: 4.0% in documents that are nearly the same" in overlap_text("birds", Overlap(0.0, 0.04))


def test_domains_of_words_of_their_own_do_not_overlap(corpora):
    assert all(overlap.near_duplicate_ratio == 0 for overlap in overlaps_of(corpora))


def test_only_the_earlier_domain_whose_held_out_text_is_learned_anew_is_named(corpora):
    log, events = recording_log()
    learned = [b"".join(corpora[0].documents("train"))]
    warn_of_overlap([("seen", learned), ("new", [b"nothing of this was ever read by anybody\n"])], corpora, log)
    (event,) = kinds(events, "heldout_text_repeats_training_text")
    assert "held-out text of seen" in event["message"]
    assert "of new" not in event["message"]
