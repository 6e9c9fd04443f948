"""The report's sections on what the model does: neurons, gates, plasticity, its own text, energy."""

from collections.abc import Callable

from mambrane.measure.energy import CAVEATS, ComponentEnergy
from mambrane.measure.probe import Probe
from mambrane.report import page
from mambrane.report.data import ReportData
from mambrane.report.figures import FIRST_POPULATION, MAMBA, SECOND_POPULATION
from mambrane.report.figures_learning import block_panels, number_panels, panels_picture
from mambrane.report.figures_neurons import raster_picture, rates_picture, silent_share
from mambrane.report.heat import Heat, heat_figure
from mambrane.watch import formatting
from mambrane.watch.history import RunHistory

PLASTICITY_METHODS = {"stdp": "STDP", "meta_plasticity": "Meta-plasticity"}
PLASTICITY_CAPTION = (
    "By applied step, mean over blocks. The factor f is 1 where a weight is free to move and falls towards 0 where "
    "it mattered for earlier tasks; during the first task nothing is held back."
)


def neurons(data: ReportData) -> str:
    """Return the section on spikes and firing rates."""
    probe, title = data.probe, "The neurons at work"
    if probe is None:
        return ""
    spiking = probe.spiking_blocks
    if not spiking:
        return page.section("neurons", title, page.paragraph("The blocks of this model have no spiking neurons."))
    blocks = sorted({spiking[0], spiking[-1]})
    ticks = "" if probe.ticks_per_token == 1 else f", {probe.ticks_per_token} ticks each"
    raster = page.figure(
        raster_picture(probe, blocks),
        f"Each stroke is a spike: time runs to the right, one column a token{ticks}, one row a neuron. Shown are the "
        "first and the last block with neurons. Below, how unexpected each token was to the model, and the text "
        "itself.",
    )
    liquid = all(probe.blocks[number].second_spikes is None for number in spiking)
    absent = page.paragraph("The second population is a liquid cell: its state is continuous and has no spikes.")
    rates = page.figure(
        rates_picture(probe),
        f"Dots: mean over the neurons of a population; bars: the range that holds four neurons in five. Measured over "
        f"{formatting.count(probe.num_tokens)} tokens of held-out text. {_silent(probe)}",
    )
    return page.section("neurons", title, raster, absent if liquid else "", rates, _rates_over_time(data.history))


def _silent(probe: Probe) -> str:
    first = [silent_share(block.first_rates) for block in probe.blocks if block.first_rates is not None]
    second = [silent_share(block.second_rates) for block in probe.blocks if block.second_rates is not None]
    words = f"Never fired: {formatting.percent(sum(first) / len(first))} of the first populations"
    return words + (f", {formatting.percent(sum(second) / len(second))} of the second." if second else ".")


def _rates_over_time(history: RunHistory) -> str:
    numbers = [
        ("activity/first_rate", "first population, spikes per neuron and tick", FIRST_POPULATION),
        ("activity/second_rate", "second population, spikes per neuron and tick", SECOND_POPULATION),
    ]
    panels = block_panels(history, numbers)
    if not panels:
        return ""
    pictured = panels_picture("rates-over-time", history, panels)
    return page.figure(pictured, "Firing rates in training, one curve a block: pale is the first, dark is the last.")


def paths(data: ReportData) -> str:
    """Return the section on the gate that lets spikes into the residual stream."""
    title = "How far spikes are let in"
    blocks = data.probe.blocks if data.probe is not None else ()
    rows = [(f"block {n + 1}", block.gate.tolist()) for n, block in enumerate(blocks) if block.gate is not None]
    if not blocks:
        return ""
    if not rows:
        return page.section(
            "gates", title, page.paragraph("There is no Mamba that spikes could be let into, so no gate.")
        )
    header = ["head", *(str(head + 1) for head in range(len(rows[0][1])))]
    caption = (
        "Gate of the spikes in each head of each block that has one, mean over the tokens read: 0 is Mamba alone, 1 "
        "lets through all that spikes contribute. A fresh model starts at 0.5, and its spikes contribute nothing yet."
    )
    heat = heat_figure("gates", Heat(header, rows, limits=(0.0, 1.0)), caption)
    over_time = ""
    if panels := block_panels(data.history, [("activity/gate", "gate of the spikes", MAMBA)]):
        pictured = panels_picture("gates-over-time", data.history, panels)
        over_time = page.figure(
            pictured, "The same gate in training, mean over heads, one curve a block: pale is the first."
        )
    return page.section("gates", title, heat, over_time)


def plasticity(data: ReportData) -> str:
    """Return the section on STDP and meta-plasticity."""
    history, names = data.history, data.history.extension_numbers()
    pieces = []
    for method, title in PLASTICITY_METHODS.items():
        if not any(name.startswith(f"{method}/") for name in names):
            pieces.append(page.paragraph(f"{title} was not at work in this run."))
    if panels := number_panels(history, _titled(history, lambda method: method in PLASTICITY_METHODS)):
        pieces.append(page.figure(panels_picture("plasticity", history, panels), PLASTICITY_CAPTION))
    return page.section("plasticity", "Plasticity", *pieces)


def extensions(data: ReportData) -> str:
    """Return the section on numbers that no other section knows; empty if there are none."""
    shown_elsewhere = {"activity", *PLASTICITY_METHODS}
    panels = number_panels(data.history, _titled(data.history, lambda method: method not in shown_elsewhere))
    if not panels:
        return ""
    pictured = panels_picture("extensions", data.history, panels)
    return page.section("extensions", "Replay and others", page.figure(pictured, "Measured in each applied step."))


def _titled(history: RunHistory, is_wanted: Callable[[str], bool]) -> list[tuple[str, str]]:
    """Return the numbers of the methods that are wanted, each with the title that the run says it has."""
    titles = {number["name"]: number["title"] for number in history.run_start.get("shown_numbers", [])}
    names = [name for name in history.extension_numbers() if is_wanted(name.partition("/")[0])]
    return [(name, titles.get(name) or name.replace("/", ": ").replace("_", " ")) for name in names]


def samples(data: ReportData) -> str:
    """Return the section with texts that the model wrote."""
    title = "What it writes"
    if not data.samples:
        return ""
    words = f"Pale: the given beginning. Dark: what the model wrote ({data.samples[0].settings})."
    if any(sample.truth for sample in data.samples):
        words += " Beside it, how the text itself goes on; the model has never seen it."
    texts = [page.sample(sample.title, sample.prompt, sample.continuation, sample.truth) for sample in data.samples]
    return page.section("samples", title, page.paragraph(words, "note"), *texts)


def energy(data: ReportData) -> str:
    """Return the section on estimated energy, with its caveats."""
    if data.energy is None:
        return ""
    energy = data.energy
    header = ["per token, nJ", "as built", "event-driven", "int8 dense", "memory, as built", "memory, event-driven"]
    rows = [_energy_row(component) for component in (*energy.components, energy.total)]
    words = (
        f"Of all products of this model, {formatting.percent(energy.spike_share)} read spikes. On an ideal "
        f"event-driven machine its arithmetic would take {formatting.percent(energy.event_driven_saving)} less "
        "energy than as built."
    )
    return page.section(
        "energy",
        "Energy by counting",
        page.paragraph(words),
        page.table(header, rows, total=True),
        page.bullets(CAVEATS),
    )


def _energy_row(component: ComponentEnergy) -> list[str]:
    return [component.name, *(formatting.compact(picojoules / 1000) for picojoules in component[1:])]
