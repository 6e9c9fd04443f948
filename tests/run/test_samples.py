"""Samples: the start of held-out text of each domain, continued."""

from mambrane.run.run import Run
from mambrane.run.samples import PROMPT_TOKENS


def test_each_domain_has_a_beginning_that_is_its_held_out_text_and_a_continuation(run_folder):
    run = Run.open(run_folder)
    samples = run.samples()
    assert [sample.title for sample in samples] == list(run.matrix.domains)
    for sample, domain in zip(samples, run.domains, strict=True):
        start = [int(token) for token in domain.heldout.tokens[:PROMPT_TOKENS]]
        assert sample.prompt == run.tokenizer.decode(start).decode()
        assert sample.continuation
        assert "temperature" in sample.settings


def test_samples_are_the_same_each_time(run_folder):
    assert Run.open(run_folder).samples() == Run.open(run_folder).samples()
