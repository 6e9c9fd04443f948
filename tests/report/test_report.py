"""The report: whole, valid, alone."""

import dataclasses
import itertools
import re
from html.parser import HTMLParser

import pytest
import torch

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.core.seeding import make_generator
from mambrane.data.tokenizer import BytesTokenizer
from mambrane.measure.energy import estimate_energy
from mambrane.measure.probe import probe_model
from mambrane.models.config import ModelConfig
from mambrane.models.cost import count_costs
from mambrane.models.language_model import LanguageModel
from mambrane.report import learning, neurons, page
from mambrane.report.report import Sample, read_report_data, report_page, write_report
from tests.measured import Loss
from tests.report.written import DOMAINS, NUMBERS, write_run

VOID = {"meta", "br", "img", "link", "hr", "input"}


class Outline(HTMLParser):
    """Checks that every tag is closed in its order, and keeps what is looked for."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.references, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.references += [attributes[name] for name in ("src", "href", "xlink:href") if name in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def outline_of(html):
    outline = Outline()
    outline.feed(html)
    outline.close()
    assert outline.open == []
    return outline


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_run(folder, numbers=NUMBERS)
    sizes = {"hidden_dim": 16, "num_layers": 2, "spiking_units": 8, "num_gate_heads": 2}
    model = LanguageModel(ModelConfig(use_mamba=True, **sizes), 257, make_generator(0, "weights"))
    tokens = [256, *b"a <b> & 'c'\n" * 10]
    probe = probe_model(model, tokens, BytesTokenizer())
    return dataclasses.replace(
        read_report_data(folder),
        probe=probe,
        energy=estimate_energy(count_costs(model, probe.firing_rates)),
        samples=(Sample("if a <", " b & c:", "temperature 0.8, seed 0", title="python"),),
        weights="averaged weights",
    )


@pytest.fixture(scope="module")
def whole_page(whole):
    return report_page(whole)


def test_every_section_is_there_in_order(whole_page):
    sections = ["training", "matrix", "neurons", "gates", "plasticity", "extensions", "samples", "energy", "log"]
    found = [anchor for anchor in outline_of(whole_page).ids if anchor in [*sections, "configuration"]]
    assert found == [*sections, "configuration"]


def test_it_is_valid_and_names_are_used_once(whole_page):
    outline = outline_of(whole_page)
    assert len(outline.ids) == len(set(outline.ids))


def test_every_picture_can_be_had_as_svg_and_its_numbers_as_csv(whole_page):
    figures = re.findall("<figure>.*?</figure>", whole_page, flags=re.DOTALL)
    names = [re.findall(r'download="([\w-]+)\.(svg|csv)"', figure) for figure in figures]
    assert all([ending for _, ending in each] == ["svg", "csv"] for each in names), names
    assert {"matrix", "gates", "training", "forgetting"} <= {each[0][0] for each in names}
    assert len(names) == len({each[0][0] for each in names})


def test_a_screen_reader_finds_its_way(whole_page):
    levels = [int(level) for level in re.findall(r"<h([1-6])[ >]", whole_page)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in itertools.pairwise(levels)), "no level is left out"
    pictures = re.findall(r"<svg[^>]*>", whole_page)
    assert all(re.search(r'role="img" aria-label="[^"]{20,}"', picture) for picture in pictures)
    assert all("scope=" in cell for cell in re.findall(r"<th\b[^>]*>", whole_page))
    assert all("aria-label=" in link for link in re.findall(r"<a download[^>]*>", whole_page))
    assert all(
        "tabindex" in area and "aria-label=" in area for area in re.findall(r'<div class="scroll"[^>]*>', whole_page)
    )
    assert {'<html lang="en">', '<main id="content">', '<nav aria-label="Sections">'} <= set(
        re.findall("<[^>]+>", whole_page)
    )


def test_it_refers_to_nothing_outside_itself(whole_page):
    outline = outline_of(whole_page)
    assert all(reference.startswith(("#", "data:")) for reference in outline.references)
    assert not re.search(r"https?:|@import|<script|<link|<iframe|url\((?!#)", whole_page)


def test_numbers_of_the_run_are_on_the_page(whole_page):
    text = " ".join("".join(outline_of(whole_page).text).split())
    for words in (
        "1,234",
        "512",
        "The run finished.",
        "3.000",
        "1.000",
        "2.13.0",
        "kernel chosen",
        "hidden dim",
        "averaged weights",
    ):
        assert words in text, words


def test_text_from_outside_cannot_become_markup(whole_page):
    assert "<prose>" not in whole_page
    assert "&lt;prose&gt; &amp; $more$" in whole_page
    assert "if a &lt;</span> b &amp; c:" in whole_page


def test_a_run_that_has_nothing_yet_says_so_and_shows_no_empty_picture(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    html = report_page(read_report_data(tmp_path))
    outline_of(html)
    assert "<svg" not in html
    for words in ("No step has been applied yet", "No domain has been evaluated yet", "The model was not run"):
        assert words in html


def test_what_was_switched_off_is_said_and_not_drawn(tmp_path, whole):
    write_run(tmp_path, numbers={})
    model = LanguageModel(ModelConfig(hidden_dim=16, num_layers=1, liquid_backbone="cfc"), 257, torch.Generator())
    probe = probe_model(model, [256, 65, 66], BytesTokenizer())
    html = report_page(dataclasses.replace(read_report_data(tmp_path), probe=probe))
    for words in ("STDP was not at work", "Meta-plasticity was not at work", "no Mamba that spikes", "liquid cell"):
        assert words in html, words
    assert "second population</text>" not in html


def test_a_run_in_the_middle_has_a_report_too(tmp_path):
    write_run(tmp_path, numbers={})
    (tmp_path / "matrix.json").unlink()
    matrix = ForgettingMatrix(DOMAINS, 2)
    matrix.record(0, 0, Loss(8.0, 256.0))
    matrix.save(tmp_path / "matrix.json")
    html = report_page(read_report_data(tmp_path))
    outline_of(html)
    assert html.count("&ndash;") == 1
    assert "undefined so far: row 2" in html
    assert "tasks learned" not in html


def test_writing_leaves_one_file_beside_the_run(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    write_report(read_report_data(tmp_path), tmp_path / "report.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "report.html"]


def test_training_and_held_out_loss_stand_in_one_picture_that_says_what_the_batches_held(whole):
    without = learning.training(dataclasses.replace(whole, matrix=None))
    with_rings = learning.training(whole)
    assert "ring: held-out text" in with_rings
    assert "ring: held-out text" not in without
    for event in whole.history.steps.values():
        event["numbers"]["replay/fraction"] = 0.0
    assert "replayed text" not in learning.training(whole)
    for event in whole.history.steps.values():
        event["numbers"]["replay/fraction"] = 0.5
    assert "Batches hold replayed text of earlier tasks (50.0" in learning.training(whole)


def test_samples_are_monospaced_and_their_control_characters_visible(whole):
    html = neurons.samples(dataclasses.replace(whole, samples=(Sample("a\tb", "c\x1bd\x00", "seed 0"),)))
    assert "a    b</span>c\\x1bd\\x00</div>" in html
    assert re.search(r"\.sample \{[^}]*monospace", page.STYLE)
