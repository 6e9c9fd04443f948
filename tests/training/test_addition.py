"""Tasks that a session adds: the names of their domains, and what is written down of them."""

from dataclasses import replace

import torch

from mambrane.data.domain_records import read_domain_records
from mambrane.engine.ranks import ONE_RANK
from mambrane.run.run import Run
from mambrane.storage.run_folder import RunFolder
from mambrane.training.addition import Addition, named_apart, write_down
from mambrane.training.session import open_session


def test_domains_of_known_names_are_told_apart_by_a_number(run_folder):
    (domain, _) = Run.open(run_folder).domains
    letters = replace(domain, name="letters")
    apart = named_apart([letters, letters, replace(domain, name="notes")], ["letters"])
    assert [each.name for each in apart] == ["letters-2", "letters-3", "notes"]


def test_a_text_is_written_down_once_with_the_place_where_it_was_found(run_folder, tmp_path):
    run, folder = Run.open(run_folder), RunFolder(tmp_path)
    config = replace(run.config, data=replace(run.config.data, data=("letters/",)))
    addition = Addition(tasks=(), domains=(replace(run.domains[0], name="letters"),))
    with open_session(folder, (), loggers=("none",), device=torch.device("cpu"), ranks=ONE_RANK) as session:
        for _ in range(2):
            write_down(session, [], addition, config)
    (record,) = read_domain_records(folder.domains_file).records
    assert (record["name"], record["data"]) == ("letters", ["letters/"])
    assert record["content_hash"] == run.domains[0].content_hash
