"""Going on with a run, from nothing or from its newest checkpoint, through the tasks that it lacks."""

from collections.abc import Sequence
from contextlib import nullcontext

from mambrane.continual.outcome import Outcome
from mambrane.continual.stream import build_stream
from mambrane.core.device import describe_environment
from mambrane.data.domains import Domain
from mambrane.data.tokenizer import Tokenizer
from mambrane.engine.extensions import Extension
from mambrane.run.arithmetic import arithmetic_of
from mambrane.run.build import build_model, build_task_kind
from mambrane.run.kernels import compile_kernels_of
from mambrane.settings.config import RunConfig
from mambrane.settings.initial import start_from
from mambrane.settings.memory_share import with_replay_size
from mambrane.settings.methods import methods_of
from mambrane.settings.saved_config import read_configuration
from mambrane.storage.checkpoint import Checkpoints
from mambrane.storage.saver import BackgroundSaver
from mambrane.training.addition import Addition
from mambrane.training.announcements import announce, announce_time
from mambrane.training.assembly import build_runner, restore
from mambrane.training.environment import compare_environment
from mambrane.training.known_text import known_stream
from mambrane.training.place import Place
from mambrane.training.reference import load_reference
from mambrane.training.session import Session
from mambrane.training.shown_model import show_samples, weights_shown


def continue_run(
    session: Session,
    config: RunConfig,
    tokenizer: Tokenizer,
    at_hand: Sequence[Domain],
    *,
    place: Place | None,
    addition: Addition | None = None,
    from_outside: Sequence[object] = (),
    warnings: Sequence[str] = (),
) -> Outcome:
    """Go on with a run until its tasks are learned or something asks to stop.

    Args:
        session: the process, its log and the folder of the run.
        config: settings of the tasks that are left, or added.
        tokenizer: that of the run.
        at_hand: text that was read; of a run without a checkpoint, all of it in order.
        place: where the run stands; None before its first checkpoint.
        addition: tasks to add to a run that has none left.
        from_outside: extensions from other packages.
        warnings: sentences for the log.

    Raises:
        UserError: text that is needed is nowhere.
    """
    folder, events, device, ranks = session.folder, session.events, session.device, session.ranks
    if ranks.is_first:
        here = describe_environment(device, is_compiled=config.engine.compile) | {"num_processes": ranks.size}
        compare_environment(folder, here, events, must_be_same=config.run.require_same_environment)
    if place is None:
        stream = build_stream(at_hand, config.continual, config.run.epochs)
    else:
        known = place
        stream = ranks.first_before_others(lambda: known_stream(known, folder, config, tokenizer, at_hand))
    whole = stream if addition is None else stream.extended(addition.tasks, addition.domains)
    model = build_model(config, tokenizer.vocab_size)
    steps_taken = [] if place is None else place.state.get("steps_taken", [])
    announce(session, config, whole, model, steps_taken=steps_taken, from_outside=from_outside, warnings=warnings)
    ranks.first_before_others(lambda: compile_kernels_of(config, device, events))
    starts_over = place is not None and any(task["starts_over"] for task in place.tasks_to_begin)
    ranks.first_before_others(lambda: start_from(config, folder, model, tokenizer, events, starts_over=starts_over))
    methods = [method.name for method in methods_of(config)]
    methods += [each.name for each in from_outside if isinstance(each, Extension)]
    takes_up = addition is not None or (place is not None and place.begins_with(methods))
    if takes_up and place is not None:
        # What is built anew for the tasks that come, such as a path or an anchor, begins at these weights.
        model.load_state_dict(place.checkpoint.weights["model"])
    checkpoints = Checkpoints(folder.checkpoints_folder, keep=config.engine.keep_checkpoints, events=events)
    with BackgroundSaver(checkpoints) as saver:
        # Added tasks make a share of the text larger; those that the checkpoint knows go on with what they have.
        saved = place.state if place is not None and addition is None else None
        runner = build_runner(
            with_replay_size(config, whole, saved),
            stream,
            model,
            folder,
            device=device,
            events=events,
            should_stop=lambda: session.stop.requested,
            saver=saver,
            from_outside=from_outside,
            reference=load_reference(config, tokenizer, events),
            ranks=ranks,
            began=read_configuration(folder),
        )
        if place is not None:
            restore(runner, place.checkpoint, take_up=takes_up)
            events.emit("resumed", step=place.checkpoint.step)
        if addition is not None:
            runner.extend(addition.tasks, addition.domains)
        is_sharded = runner.trainer.is_sharded
        if ranks.is_first and not is_sharded:
            # A whole model is run for it, which may not fit where pieces do.
            announce_time(session, config, runner, tokenizer.vocab_size)
        shows = ranks.is_first or is_sharded
        with arithmetic_of(config, device), weights_shown(runner, events) if shows else nullcontext():
            outcome = runner.run()
        if outcome.is_finished and ranks.is_first and build_task_kind(config, device).is_text:
            show_samples(runner, model, tokenizer, events)
    # Behind the last save, so that every process finds the run as it ends.
    signal_number = max(ranks.gather(session.stop.signal_number or 0)) or None
    return outcome._replace(signal_number=signal_number)
