"""The reference text of a run: outside its tasks, measured after each of them, never trained on."""

from dataclasses import replace

from mambrane.core.events import EventLog
from mambrane.data.cache_folder import cache_folder
from mambrane.data.domains import Domain, load_domains
from mambrane.data.tokenizer import Tokenizer
from mambrane.settings.config import RunConfig

MEASURED_FRACTION = 0.9
"""Part of the text that is measured, up to --max-heldout-bytes: the rest is what a domain would train on."""


def load_reference(config: RunConfig, tokenizer: Tokenizer, events: EventLog) -> list[Domain]:
    """Return the texts of `--reference-text`, each as a domain of which only the held-out part is used.

    Raises:
        UserError: anything wrong with the text.
    """
    if not config.data.reference_text:
        return []
    data = replace(config.data, data=config.data.reference_text, task_order=(), heldout_fraction=MEASURED_FRACTION)
    _, domains = load_domains(data, cache_folder(), events, tokenizer=tokenizer)
    return domains
