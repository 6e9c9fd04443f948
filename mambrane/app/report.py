"""`mambrane report RUN`: one self-contained HTML page about a run."""

from dataclasses import replace
from pathlib import Path

from mambrane.app.notices import announced_events
from mambrane.app.sample import write_samples
from mambrane.measure.energy import estimate_energy
from mambrane.measure.probe import probe_model
from mambrane.models.accounting import account
from mambrane.report.data import read_report_data
from mambrane.report.report import write_report
from mambrane.run.saved import open_run, own_domains

PROBED_TOKENS = 1024


def report(run: Path, output: Path | None) -> int:
    """Write the page and say where it is."""
    saved = open_run(run, events=announced_events())
    num_domains = saved.config.continual.num_tasks if saved.config.continual.continual_learning else None
    domains = own_domains(saved, num_domains)
    probe = probe_model(saved.model, domains[0].heldout.tokens[:PROBED_TOKENS], saved.tokenizer)
    data = replace(
        read_report_data(run),
        probe=probe,
        energy=estimate_energy(account(saved.model, probe.firing_rates)),
        samples=write_samples(saved.model, saved.tokenizer, domains, weights=saved.weights),
        weights=saved.weights,
    )
    path = output or saved.folder.report_file
    write_report(data, path)
    print(path)  # noqa: T201 -- the answer of the program
    return 0
