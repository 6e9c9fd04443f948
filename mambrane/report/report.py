"""The report of a run: one HTML page that needs nothing beside itself.

    read_report_data(folder)  what the run left on disk
    + probe, energy, sample   what its model does (made by the caller, who has built the model)
    write_report(data, path)  the page

What a run does not have is said in a sentence, or left out; there is never an empty picture.
"""

from pathlib import Path

from mambrane.report import learning, neurons, page, synapses
from mambrane.report.data import ReportData, Sample, read_report_data
from mambrane.storage.atomic_files import atomic_write_text

__all__ = ["ReportData", "Sample", "read_report_data", "report_page", "write_report"]

SECTIONS = (
    learning.head,
    learning.training,
    learning.memory,
    neurons.neurons,
    neurons.paths,
    neurons.plasticity,
    synapses.synapses,
    neurons.extensions,
    neurons.samples,
    neurons.energy,
    learning.log,
    learning.configuration,
)


def write_report(data: ReportData, path: Path) -> None:
    """Write the page, so that a reader sees the old one or the new one and nothing between."""
    atomic_write_text(path, report_page(data))


def report_page(data: ReportData) -> str:
    """Return the page as HTML; a section that has nothing to say is left out."""
    sections = [section(data) for section in SECTIONS]
    return page.page(f"{data.title} - Mambrane", [section for section in sections if section])
