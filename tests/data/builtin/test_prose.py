"""Sentences out of docstrings."""

import pytest

from mambrane.data.builtin.prose import prose_paragraphs, read_docstrings, read_prose, read_topics

SENTENCE = "The membrane of a neuron is a leaky store that fires when it is full."


def test_sentences_stay_and_are_joined_to_one_line():
    docstring = f"""Leaky store.

    {SENTENCE[:30]}
    {SENTENCE[30:]}
    """
    assert list(prose_paragraphs(docstring)) == [f"{SENTENCE[:30]} {SENTENCE[30:]}".replace("  ", " ")]


@pytest.mark.parametrize(
    "block",
    [
        ">>> the_sum_of(all of the spikes in the train) is a number.",
        "Parameters\n----------\nx : the array of the spikes that is to be read.",
        "x : int\n    The number of the spikes that are in the window of time.",
        "- The first item of a list that is not a paragraph of prose.",
        "The value is :math:`a + b` where the a is the first of the two.",
        "See the page at https://example.org for all of the details of it.",
        "the sentence that starts with a small letter is a fragment of one.",
        "The sentence that has no end is a fragment of one that is torn",
        "Short one of the kind.",
        "Numpy scipy pandas torch keras jax flax haiku equinox diffrax optax.",
    ],
)
def test_what_is_no_prose_goes(block):
    assert list(prose_paragraphs(block)) == []


def test_markup_around_words_goes_and_the_words_stay():
    block = "The class :class:`~a.b.Neuron` is used by ``run`` and by `step` for all of the models."
    assert list(prose_paragraphs(block)) == ["The class a.b.Neuron is used by run and by step for all of the models."]


LONG = " ".join(
    f"The {word} of a neuron is a leaky store that fires when it is full." for word in ("axon", "soma", "gate")
)


def test_docstrings_of_modules_classes_and_functions_are_read_once(tmp_path):
    path = tmp_path / "module.py"
    several = "\n\n".join(f"{LONG} It is of kind {kind}." for kind in "abcdefgh")
    path.write_text(f'"""{several}"""\nclass A:\n    """{several}"""\n    def f(self):\n        """{SENTENCE}"""\n')
    expected = [*several.split("\n\n"), SENTENCE]
    assert list(read_docstrings(path, 0)) == ["".join(f"{paragraph}\n" for paragraph in expected).encode()]
    assert list(read_docstrings(path, len(expected[0]) + 5)) == [f"{expected[0]}\n".encode()]


def test_a_file_whose_docstrings_say_a_line_each_is_left_out(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("".join(f'def f{n}():\n    """{SENTENCE[:-1]} {n}."""\n' for n in range(100)))
    assert list(read_docstrings(path, 0)) == []


def test_a_plain_text_gives_its_paragraphs_whatever_their_margin_but_not_its_capitals(tmp_path):
    path = tmp_path / "LICENCE"
    path.write_text(f"TITLE\n\n   {SENTENCE[:30]}\n   {SENTENCE[30:]}\n\n{SENTENCE.upper()}\n\n  code = 1\n")
    assert list(read_prose(path, 0)) == [f"{SENTENCE[:30].strip()} {SENTENCE[30:].strip()}\n".encode()]


def test_each_page_of_the_reference_is_a_document(tmp_path):
    path = tmp_path / "topics.py"
    other = SENTENCE.replace("neuron", "cell")
    path.write_text(f"topics = {{'one': {SENTENCE + chr(10)!r}, 'two': {other + chr(10)!r}}}\n")
    assert list(read_topics(path, 0)) == [f"{SENTENCE}\n".encode(), f"{other}\n".encode()]


@pytest.mark.parametrize(
    "content", ["x = 1\n", 'def broken(:\n    """The docstring of a file that is not Python."""\n']
)
def test_a_file_without_prose_gives_nothing(tmp_path, content):
    path = tmp_path / "module.py"
    path.write_text(content)
    assert list(read_docstrings(path, 0)) == []
