"""Training a run: start it, or go on with it. Equal calls do both; nothing is printed here."""

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch

from mambrane.continual.outcome import Outcome
from mambrane.core.device import take_device
from mambrane.core.errors import UserError
from mambrane.core.events import Event
from mambrane.core.seeding import seed_global_generators
from mambrane.data.cache_folder import cache_folder
from mambrane.data.corpus import Corpus
from mambrane.data.domain_records import read_domain_records, write_domain_records
from mambrane.data.domains import Domain, tokenize_texts
from mambrane.data.heldout_copy import remove_copies
from mambrane.data.tokenizer import Tokenizer, read_tokenizer
from mambrane.engine.ranks import Ranks, open_ranks
from mambrane.run.own_text import keep_heldout_text
from mambrane.run.run import Run
from mambrane.run.saved import first_records, mend_records, texts_as_saved
from mambrane.settings.config import OPERATIONAL, RunConfig, defaults_for_old_runs, to_dict
from mambrane.settings.initial import initial_tokenizer, place_hash
from mambrane.settings.later_task import recipe_of
from mambrane.settings.outside import with_extensions
from mambrane.settings.saved_config import read_configuration
from mambrane.settings.task_settings import for_learning, own_settings
from mambrane.storage.atomic_files import atomic_write_text
from mambrane.storage.run_folder import RunFolder
from mambrane.training.addition import Addition, write_down
from mambrane.training.continue_run import continue_run
from mambrane.training.extend import addition_of, extends
from mambrane.training.place import Place, config_of, read_place
from mambrane.training.processes import require_same_start, require_shared
from mambrane.training.session import Session, open_session, read_listening
from mambrane.watch.loggers import require_packages_of


def train(
    config: RunConfig,
    *,
    extensions: Sequence[object] = (),
    listeners: Sequence[Callable[[Event], None]] = (),
    warnings: Sequence[str] = (),
) -> Run:
    """Train in the folder that the configuration names, or resume what stands there, and return the run.

    SIGTERM, SIGHUP and Ctrl-C stop it in good order after a checkpoint; the same call goes on from there. Started by
    torchrun, all processes train together, each on its rows of every micro-batch; the first one locks, logs and saves.

    Args:
        config: every setting of the run, from a preset or by hand.
        extensions: rules of your own beside the run's (docs/extending.md); their classes and, of dataclasses, their
            fields become part of the configuration, as if `--extension` had named them.
        listeners: called with each event of the run as it happens, `ConsoleListener()` for one. A listener that
            raises is told of in the log and called no more; the run goes on.
        warnings: sentences to put into the run's log before the first step.

    Returns:
        The run as its folder now holds it; its `outcome` says whether it is finished, or why it stopped.

    Raises:
        UserError: a setting, a text or the folder does not fit.

    Example:
        >>> from dataclasses import replace
        >>> config = presets.tiny()
        >>> run = train(replace(config, run=replace(config.run, output_dir="runs/mine")))  # doctest: +SKIP
    """
    if not isinstance(config, RunConfig):
        raise UserError(
            f"train({str(config)[:40]!r})",
            wanted="a whole configuration",
            way_out="train(presets.tiny()), or what from_dict and dataclasses.replace make of it",
        )
    device = take_device(config.run.device)
    require_packages_of(config.run.logger)
    with open_ranks(device, timeout_s=config.run.rank_timeout_s) as ranks:
        folder, outcome = _train(config, extensions, listeners if ranks.is_first else (), warnings, device, ranks)
    return Run.open(folder.path, device=device, outcome=outcome)


def _train(
    config: RunConfig,
    extensions: Sequence[object],
    listeners: Sequence[Callable[[Event], None]],
    warnings: Sequence[str],
    device: torch.device,
    ranks: Ranks,
) -> tuple[RunFolder, Outcome]:
    seed_global_generators(config.run.seed)
    config, from_outside = with_extensions(config, extensions)
    texts, early_events = ranks.first_before_others(lambda: read_listening(config.data, listeners, config.num_domains))
    folder = RunFolder(config.folder_for([*(text.content_hash for text in texts), *place_hash(config)]))
    require_same_start(ranks, config, texts)
    with folder.lock() if ranks.is_first else nullcontext():
        require_shared(ranks, folder)
        filled_in = folder.settings_saved_without(to_dict(defaults_for_old_runs()))
        # Asked of the first process, before it writes the configuration of a new run.
        is_known = ranks.gather(folder.config_file.exists())[0]
        began = read_configuration(folder) if is_known else None
        records = first_records(folder, texts)
        asks_for_more = began is not None and extends(began, config, (len(records), len(texts)))
        if asks_for_more:
            texts = [*texts_as_saved(texts[: len(records)], records), *texts[len(records) :]]
        elif began is not None:
            _check_config(folder, config, writes=False)
            # Refused before anything is written: a run must not be left with the place of another text.
            texts = texts_as_saved(texts, records)
            _check_config(folder, config, writes=ranks.is_first)
        with open_session(
            folder, listeners, early_events, loggers=config.run.logger, device=device, ranks=ranks
        ) as session:
            if began is not None and asks_for_more:
                return folder, _extend(session, began, config, texts, from_outside)
            if filled_in:
                session.events.emit("settings_filled_in", settings=filled_in)
            # The first process tokenizes and claims the folder; the others then find a run that exists.
            tokenizer, domains = ranks.first_before_others(lambda: _tokenize(session, config, texts))
            place = ranks.first_before_others(lambda: read_place(folder, config, session.events))
            outcome = continue_run(
                session,
                config_of(place, config),
                tokenizer,
                domains,
                place=place,
                from_outside=from_outside,
                warnings=warnings,
            )
    return folder, outcome


def _extend(
    session: Session, began: RunConfig, config: RunConfig, texts: list[Corpus], from_outside: Sequence[object]
) -> Outcome:
    """Finish what the run has, then learn what the configuration asks for beyond it."""
    folder, events, ranks = session.folder, session.events, session.ranks
    tokenizer = read_tokenizer(folder.tokenizer_file)
    _, domains = ranks.first_before_others(
        lambda: tokenize_texts(texts, config.data, cache_folder(), events, is_stream=True, tokenizer=tokenizer)
    )
    if ranks.is_first:
        mend_records(folder, domains, events)
    # Behind what the first process mends.
    ranks.wait()

    def learn_with(settings: RunConfig, place: Place, addition: Addition | None = None) -> Outcome:
        limited = replace(settings, run=replace(settings.run, max_steps=config.run.max_steps))
        return continue_run(
            session, limited, tokenizer, domains, place=place, addition=addition, from_outside=from_outside
        )

    place, taken_back = read_place(folder, began, events), tuple[str, ...]()
    if place is not None and not place.is_done:
        outcome = learn_with(config_of(place, began), place)
        if not outcome.is_finished:
            return outcome
        # Of this call too, though it was begun in another.
        taken_back = outcome.taken_back
        place = read_place(folder, began, events)
    if place is None:
        raise UserError(
            f"{folder.path} has no checkpoint yet, and more is asked of it than it began with",
            wanted="the arguments that the run was started with",
            way_out="set --epochs, --num-tasks and --data back, and raise them afterwards",
        )
    recipe = recipe_of(began, {})
    later = for_learning(began, recipe.settings)
    addition = addition_of(
        place, began, config, domains, num_epochs=recipe.num_epochs, settings=own_settings(began, later)
    )
    settings = config_of(place, began)
    if addition is not None:
        write_down(session, texts, addition, config)
        # More epochs of what the run began with are learned as it began.
        settings = for_learning(began, {})
        if addition.domains:
            settings = later
            recipe.tell(events)
    return learn_with(settings, place, addition).also_taken_back(taken_back)


def _tokenize(session: Session, config: RunConfig, texts: list[Corpus]) -> tuple[Tokenizer, list[Domain]]:
    """Tokenize the text; a run that exists keeps its tokenizer, a new one claims its folder once its text is there."""
    folder, events = session.folder, session.events
    saved = None
    if folder.config_file.exists() and folder.tokenizer_file.exists():
        saved = read_tokenizer(folder.tokenizer_file)
    tokenizer, domains = tokenize_texts(
        texts,
        config.data,
        cache_folder(),
        events,
        is_stream=config.continual.continual_learning,
        tokenizer=saved or initial_tokenizer(config),
    )
    if saved is None:
        _check_config(folder, config)
        # Where only the tokenizer is made anew, tasks were perhaps added behind the first ones.
        later = [record for record in read_domain_records(folder.domains_file).records if "data" in record]
        write_domain_records(folder.domains_file, [*(domain.record for domain in domains), *later])
        atomic_write_text(folder.tokenizer_file, json.dumps(tokenizer.state_dict()))
    else:
        mend_records(folder, domains, events)
    if config.data.keep_heldout_bytes == 0:
        remove_copies(folder.heldout_folder)
    keep_heldout_text(folder, texts, config.data.keep_heldout_bytes, events)
    return tokenizer, domains


def _check_config(folder: RunFolder, config: RunConfig, *, writes: bool = True) -> None:
    """Refuse a folder of another run; settings younger than the run are taken to stand where it was trained."""
    defaults = to_dict(defaults_for_old_runs())
    folder.match_or_create(to_dict(config), operational=OPERATIONAL, defaults=defaults, writes=writes)
