"""The report of a run: one HTML page that needs nothing beside itself.

    read_report_data(folder)  what the run left on disk
    + probe, energy, sample   what its model does (made by the caller, who has built the model)
    write_report(data, path)  the page

What a run does not have is said in a sentence; there is never an empty picture.
"""

from pathlib import Path

from mambrane.engine.storage import atomic_write_text
from mambrane.evaluation import page, report_learning, report_neurons
from mambrane.evaluation.report_data import ReportData, Sample, read_report_data

__all__ = ["ReportData", "Sample", "read_report_data", "report_page", "write_report"]

SECTIONS = (
    report_learning.head,
    report_learning.training,
    report_learning.memory,
    report_neurons.neurons,
    report_neurons.paths,
    report_neurons.plasticity,
    report_neurons.extensions,
    report_neurons.samples,
    report_neurons.energy,
    report_learning.log,
    report_learning.configuration,
)


def write_report(data: ReportData, path: Path) -> None:
    """Write the page, so that a reader sees the old one or the new one and nothing between."""
    atomic_write_text(path, report_page(data))


def report_page(data: ReportData) -> str:
    """Return the page as HTML; a section that has nothing to say is left out."""
    sections = [section(data) for section in SECTIONS]
    return page.page(f"{data.title} - Mambrane", [section for section in sections if section])
