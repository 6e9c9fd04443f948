"""`mambrane report RUN`: one self-contained HTML page about a run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mambrane.app.folders import cache_folder
from mambrane.app.sample import PROMPT_TOKENS, SAMPLE_TOKENS, TEMPERATURE
from mambrane.app.saved_run import SavedRun, open_run
from mambrane.core.events import EventLog
from mambrane.core.seeding import make_generator
from mambrane.data.domains import Domain, load_domains
from mambrane.evaluation.energy import estimate_energy
from mambrane.evaluation.generation import generate
from mambrane.evaluation.probe import probe_model
from mambrane.evaluation.report import Sample, read_report_data, write_report
from mambrane.models.accounting import account

PROBED_TOKENS = 1024


def report(run: Path, output: Path | None) -> int:
    """Write the page and say where it is."""
    saved = open_run(run)
    _, domains = load_domains(saved.config.data, cache_folder(), EventLog(), tokenizer=saved.tokenizer)
    probe = probe_model(saved.model, domains[0].heldout.tokens[:PROBED_TOKENS], saved.tokenizer)
    data = replace(
        read_report_data(run),
        probe=probe,
        energy=estimate_energy(account(saved.model, probe.firing_rates)),
        sample=_sample(saved, domains[0]),
    )
    path = output or saved.folder.report_file
    write_report(data, path)
    print(path)  # noqa: T201 -- the answer of the program
    return 0


def _sample(saved: SavedRun, domain: Domain) -> Sample:
    prompt = domain.heldout.tokens[:PROMPT_TOKENS].astype(np.int64).tolist()
    tokens = generate(
        saved.model,
        prompt,
        max_tokens=SAMPLE_TOKENS,
        end_of_text=saved.tokenizer.end_of_text,
        generator=make_generator(0, "sample", domain.name),
        temperature=TEMPERATURE,
    )
    written = torch.tensor(list(tokens)).numpy()
    return Sample(
        prompt=saved.tokenizer.decode(prompt).decode(errors="replace"),
        continuation=saved.tokenizer.decode(written).decode(errors="replace"),
        settings=f"{domain.name}, held-out beginning, temperature {TEMPERATURE}, seed 0",
    )
