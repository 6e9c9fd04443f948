"""Which documents are read and which are held out."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mambrane.core.errors import UserError
from mambrane.data.selection import Extent, cap_extents, read_documents, split_documents, text_digest
from mambrane.data.source_files import DomainSource
from tests.data.texts import memory_source


def read(texts, max_bytes=0):
    return list(read_documents(memory_source(texts), max_bytes, lambda file, reason: None))


def split(texts, fraction, kin=None):
    source = memory_source(texts, kin)
    extents, whole = [], b""
    for document in read_documents(source, 0, lambda file, reason: None):
        extents.append(Extent(document.file, len(whole), len(document.text)))
        whole += document.text
    parts = split_documents(extents, whole, source, fraction)
    return [[whole[extent.start : extent.start + extent.length] for extent in part] for part in parts]


def size(documents):
    return sum(map(len, documents))


FILES = {f"file{number}": f"{number} is the number of this file\n".encode() * 40 for number in range(50)}


def test_every_file_is_read_once_without_a_cap():
    assert sorted(document.text for document in read(FILES)) == sorted(FILES.values())


def test_the_order_depends_on_names_only():
    shuffled = dict(reversed(FILES.items()))
    assert read(FILES) == read(shuffled)
    assert [document.text for document in read(FILES)] != list(FILES.values())


def test_equal_files_are_read_once():
    assert len(read({"a": b"same\n", "b": b"same\n", "c": b"other\n"})) == 2


def test_documents_of_earlier_domains_are_not_read_again():
    documents = read_documents(
        memory_source({"a": b"same\n", "b": b"other\n"}), 0, lambda *_: None, {text_digest(b"same\n")}
    )
    assert [document.text for document in documents] == [b"other\n"]


def test_no_file_is_read_twice_because_others_were_cut():
    reads = []
    source = memory_source({"small": b"s" * 100, "large": b"l" * 30_000})

    def read(path, limit):
        reads.append(path.name)
        yield from source.files[0].read(path, limit)

    counted = source.__class__("memory", tuple(replace(file, read=read) for file in source.files))
    assert len(list(read_documents(counted, 100_000, lambda *_: None))) == 2
    assert reads.count("small") == 1
    assert reads.count("large") == 3


@pytest.mark.parametrize("length", [30_000, 99_000, 100_000, 3_000_000])
def test_a_domain_of_one_file_is_read_once_under_a_cap(length):
    (file,) = memory_source({"one": b"o" * length}).files
    reads = []

    def read(path, limit):
        reads.append(limit)
        yield from file.read(path, limit)

    documents = list(read_documents(DomainSource("memory", (replace(file, read=read),)), 100_000, lambda *_: None))
    assert len(reads) == 1
    assert size(document.text for document in documents) == min(length, 100_000)


def test_a_bad_file_is_reported_once_though_others_are_read_again():
    source = memory_source({"good": b"g" * 30_000, "worse": b"w" * 30_000})

    def read(path, limit):
        if path.name == "worse":
            raise UserError("not text", wanted="text", way_out="none")
        yield from source.files[0].read(path, limit)

    tolerant = DomainSource("memory", tuple(replace(file, read=read) for file in source.files), skips_bad_files=True)
    reported = []
    assert len(list(read_documents(tolerant, 100_000, lambda file, reason: reported.append(file.relative)))) == 1
    assert reported == ["worse"]


def test_empty_files_give_no_document():
    assert read({"a": b"", "b": b" \n", "c": b"text"}) == read({"a": b"", "b": b" \n", "c": b"text"}, 100)
    assert len(read({"a": b"", "b": b" \n", "c": b"text"})) == 1


def test_a_capped_domain_takes_a_slice_of_many_files_and_not_one_giant():
    texts = FILES | {"giant": b"x" * 1_000_000}
    documents = read(texts, 40_000)
    assert 0.9 * 40_000 <= size(document.text for document in documents) <= 40_000
    assert len(documents) >= 10
    assert max(len(document.text) for document in documents) <= 4096


def test_a_cap_above_all_text_reads_all_of_it():
    texts = {"small": b"s" * 100, "large": b"l" * 30_000}
    assert sorted(len(document.text) for document in read(texts, 100_000)) == [100, 30_000]


@given(st.dictionaries(st.text("abc", min_size=1), st.binary(max_size=9000)), st.integers(1, 30_000))
def test_a_cap_is_never_exceeded_and_never_reads_what_is_not_there(texts, cap):
    documents = read(texts, cap)
    assert size(document.text for document in documents) <= cap
    by_index = [texts[name] for name in sorted(texts)]
    assert all(by_index[document.file].startswith(document.text) for document in documents)


def test_many_files_are_split_by_file():
    train, heldout = split(FILES, 0.1)
    assert sorted(train + heldout) == sorted(FILES.values())
    assert not set(train) & set(heldout)
    assert 0.07 <= size(heldout) / size(train + heldout) <= 0.13


def test_the_split_of_a_file_does_not_depend_on_its_text():
    changed = {name: text.replace(b"number", b"figure") for name, text in FILES.items()}
    names = [{text.split()[0] for text in split(texts, 0.1)[1]} for texts in (FILES, changed)]
    assert names[0] == names[1]


def test_files_of_one_kin_are_on_one_side():
    kin = {name: f"kin {int(name.removeprefix('file')) % 10}" for name in FILES}
    sides = {
        side: {int(text.split()[0]) % 10 for text in part}
        for side, part in zip("ab", split(FILES, 0.2, kin), strict=True)
    }
    assert sides["b"]
    assert not sides["a"] & sides["b"]


def test_documents_of_a_file_may_be_held_out_one_by_one():
    (file,) = memory_source({"one": b""}).files
    source = DomainSource("memory", (replace(file, has_own_documents=True),))
    whole = b"".join(b"document %02d\n" % number for number in range(100))
    extents = [Extent(0, start, 12) for start in range(0, len(whole), 12)]
    train, heldout = split_documents(extents, whole, source, 0.1)
    assert sorted(train + heldout) == extents
    assert 8 <= len(heldout) <= 12
    assert heldout != extents[-len(heldout) :]


def test_files_that_repeat_others_are_not_held_out_while_there_are_better_ones():
    """Twenty of fifty files are copies of each other but for a line."""
    body = b"".join(b"line %d of a text that was copied\n" % number for number in range(20))
    copies = {name: body + name.encode() for name in list(FILES)[:20]}
    train, heldout = split(FILES | copies, 0.2)
    assert heldout
    assert not any(b"copied" in text for text in heldout)
    assert sum(b"copied" in text for text in train) == 20


def test_where_all_files_repeat_each_other_some_are_held_out_all_the_same():
    copies = {name: FILES["file1"] + name.encode() for name in FILES}
    assert 0.07 <= len(split(copies, 0.1)[1]) / len(FILES) <= 0.13


def test_one_file_is_split_at_a_line_end_with_the_end_held_out():
    text = b"".join(b"line %d\n" % number for number in range(1000))
    (train,), (heldout,) = split({"one": text}, 0.1)
    assert train + heldout == text
    assert train.endswith(b"\n")
    assert abs(len(heldout) / len(text) - 0.1) < 0.01


def test_one_line_is_split_between_characters():
    text = "\u20ac".encode() * 1000
    (train,), (heldout,) = split({"one": text}, 0.1)
    assert train.decode() + heldout.decode() == text.decode()
    assert abs(len(heldout) / len(text) - 0.1) < 0.01


def test_a_title_line_before_one_long_line_is_split_90_to_10():
    text = b"A title\n" + b"word " * 10_000
    (train,), (heldout,) = split({"one": text}, 0.1)
    assert train + heldout == text
    assert abs(len(heldout) / len(text) - 0.1) < 0.01


def test_a_paragraph_longer_than_all_others_is_split_where_the_wanted_part_begins():
    paragraphs = [b"a" * 2_000, b"b" * 198_000, b"c" * 3_000]
    (_,), (heldout,) = split({"one": b"\n\n".join(paragraphs) + b"\n"}, 0.1)
    assert abs(len(heldout) / 203_005 - 0.1) < 0.01


@pytest.mark.parametrize("last", [b"the end\n", b"t" * 400 + b"\n"])
def test_a_short_last_document_behind_a_long_one_is_not_the_whole_held_out_split(last):
    long = b"some words of a line here\n" * 400
    extents = [Extent(0, 0, len(long)), Extent(0, len(long), len(last))]
    train, heldout = split_documents(extents, long + last, memory_source({"one": b""}), 0.1)
    assert heldout[-1] == extents[1]
    assert abs(sum(extent.length for extent in heldout) / len(long + last) - 0.1) < 0.01
    assert [*train, *heldout][0].start == 0
    assert sum(extent.length for extent in [*train, *heldout]) == len(long + last)


def test_a_first_document_that_is_less_than_what_is_missing_is_left_to_learn_from():
    extents = [Extent(0, 0, 10), Extent(0, 10, 10)]
    train, heldout = split_documents(extents, b"one line.\n" * 2, memory_source({"one": b""}), 0.999)
    assert (train, heldout) == (extents[:1], extents[1:])


def test_many_documents_in_one_file_are_split_between_documents():
    source = memory_source({"one": b""})
    whole = b"".join(b"document %02d\n" % number for number in range(100))
    extents = [Extent(0, start, 12) for start in range(0, len(whole), 12)]
    train, heldout = split_documents(extents, whole, source, 0.1)
    assert train == extents[:90]
    assert heldout == extents[90:]


@given(
    st.dictionaries(st.text("abc", min_size=1), st.text(min_size=1).map(str.encode), min_size=1), st.floats(0.05, 0.6)
)
def test_a_split_keeps_every_byte_once_or_says_that_it_cannot(texts, fraction):
    try:
        train, heldout = split(texts, fraction)
    except UserError:
        return
    assert train
    assert heldout
    assert all(train)
    assert all(heldout)
    different = {text for text in texts.values() if text.strip()}
    assert size(train + heldout) == size(different)


@pytest.mark.parametrize(("text", "fraction"), [(b"a", 0.1), (b"one line\n", 0.999), (b"ab", 0.01)])
def test_a_split_that_would_be_empty_is_a_clear_error(text, fraction):
    with pytest.raises(UserError, match=r"memory(.|\n)*would be empty(.|\n)*--heldout-fraction"):
        split({"one": text}, fraction)


def test_the_held_out_part_is_capped_at_line_ends():
    text = b"first\nsecond\nthird\n"
    extents = [Extent(0, 0, 6), Extent(1, 6, 13)]
    assert cap_extents(extents, text, 14) == [Extent(0, 0, 6), Extent(1, 6, 7)]
    assert cap_extents(extents, text, 0) == extents
    assert cap_extents(extents, text, 1000) == extents


def test_a_capped_held_out_part_is_taken_from_the_middle_of_eight_documents():
    document = b"".join(b"line %04d\n" % number for number in range(1000))
    extents = [Extent(number, number * len(document), len(document)) for number in range(20)]
    kept = cap_extents(extents, document * 20, 8000)
    assert [extent.file for extent in kept] == list(range(8))
    assert all(extent.length == 1000 and extent.start % len(document) == 4500 for extent in kept)


@pytest.mark.parametrize("end", [b"\n", b"\nthe end\n"])
@pytest.mark.parametrize("character", ["w", "\u20ac"])
def test_the_cap_of_one_long_line_keeps_about_as_much_of_its_middle(end, character):
    text = character.encode() * 30_000 + end
    (kept,) = cap_extents([Extent(0, 0, len(text))], text, 4096)
    assert 4000 < kept.length <= 4096
    assert abs(kept.start + kept.length / 2 - len(text) / 2) < 10
    assert set(text[kept.start : kept.start + kept.length].decode()) == {character}


def test_the_cap_of_a_long_line_behind_a_heading_in_the_middle_keeps_more_than_the_heading():
    text = b"w" * 30_000 + b"\nA heading\n" + b"v" * 30_000 + b"\n"
    (kept,) = cap_extents([Extent(0, 0, len(text))], text, 4096)
    assert kept.length == 4096


def test_text_is_left_to_learn_from_however_much_is_held_out():
    lines = {f"file{n}": b"".join(b"%d of %d\n" % (n, line) for line in range(1000)) for n in range(3)}
    for texts in ({"one": lines["file0"]}, {"one": lines["file0"], "two": lines["file1"]}, lines):
        train, heldout = split(texts, 0.9)
        assert train
        assert size(heldout) >= size(train)
