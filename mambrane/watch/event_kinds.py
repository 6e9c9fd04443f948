"""What each kind of event says, and what each file of a run's folder holds: the words of docs/reference/events.md.

The fields of an event are read from the calls that emit it (`scripts/events_page.py`); a test holds that every kind
that is emitted stands here, and no other.
"""

KINDS: dict[str, dict[str, str]] = {
    "The run": {
        "run_started": "A process begins to train: the whole configuration, the size of the model, the environment.",
        "resumed": "It goes on after `step`; what the log says of later steps was trained again.",
        "switches": "Methods that are on and off.",
        "extension": "An extension from another package, with its settings.",
        "operations": "The backend of each operation, and why it was chosen.",
        "expected_time": "About how long the run takes, measured on a few steps.",
        "initial_weights": "What --init-from gave the model, and what did not fit.",
        "settings_filled_in": "Settings that did not exist when the run was saved, with the values that it was "
        "trained with.",
        "stopped": "Training ended before its end, on a signal or at --max-steps; the same command resumes.",
        "run_finished": "Every task is learned and measured.",
        "warning": "Something that a reader may want to act on.",
        "compiling": "Kernels are compiled, once on a machine.",
        "later_task": "Settings of a task behind a finished run where no flag says otherwise (settings/later_task.py).",
        "already_learned": "A text that `mambrane learn` was given is known already.",
        "listener_failed": "A listener raised an error and is called no more; the run goes on.",
        "signals_not_watched": "Ctrl-C and SIGTERM end this process without a save.",
    },
    "Text": {
        "text_read": "A domain's files were read.",
        "file_skipped": "A file, or `count` files of one kind, was passed over, and why.",
        "domain": "A domain as it is learned: bytes, documents and tokens of each split, and its hashes.",
        "domains_left_out": "Domains behind the last task: nothing learns them.",
        "classes_left_out": "Classes of images that fill no task (--classes-per-task): nothing learns them.",
        "text_left_out": "Text that is neither learned nor measured on, in bytes, and why.",
        "heldout_text_repeats_training_text": "Held-out lines that stand in the training text too.",
        "heldout_text_not_kept": "Held-out text of which the run's folder has no copy.",
        "cache_damaged": "A damaged file of the cache is made anew.",
        "tokenizer_trained": "What the tokenizer was trained on.",
        "tokenizer_smaller_than_asked": "The text gave fewer tokens than --tokenizer asks for.",
    },
    "Tasks and measures": {
        "task_started": "A task begins.",
        "epoch_finished": "An epoch has ended; mean training loss in nats per token.",
        "epoch_measured": "The task's own held-out text after an epoch (--patience): `epoch`, `value`, `is_best`.",
        "task_at_rest": "The task ends before its last epoch, as its held-out text stopped improving (--patience).",
        "best_weights_put_back": "The weights of the best epoch are taken (--patience).",
        "task_finished": "A task's training has ended.",
        "evaluation": "One cell of the matrix: a domain, measured after `row` tasks.",
        "weights_measured": "Histograms of the weights after `step`: lowest, highest, counts.",
        "sample": "A beginning of a domain's held-out text, and how the model goes on.",
        "task_decided": "`is_kept`, `forgetting`, `gain` and `reason` of a task that could be taken back.",
        "task_taken_back": "A task is undone bit for bit: the run is what it was after `step`.",
        "matrix": "The whole matrix so far, as in matrix.json.",
    },
    "Steps": {
        "step": "An optimizer step: loss in nats per token, norm of the gradient, learning rate, the terms and "
        "penalties of the loss, and the `numbers` of methods and extensions.",
        "step_skipped": "A step with a non-finite gradient is not applied, and why.",
        "step_empty": "A step has no target to learn from, and why.",
        "step_aborted": "A step is undone as a whole, and why.",
        "loss_spike": "The loss of a step lies far above what is usual.",
        "out_of_memory": "Memory ran out; the micro-batch is computed in halves.",
        "parameters_added": "Parameters that the optimizer did not know before.",
        "epoch_without_steps": "An epoch has fewer micro-batches than a step takes; they wait (--tail-policy carry).",
        "tail_dropped": "Micro-batches of a last, short step that are not learned.",
        "precision_changed": "A run goes on in another precision than it was saved in.",
    },
    "Checkpoints": {
        "checkpoint_saved": "A checkpoint is whole and on the disk.",
        "checkpoint_loaded": "A checkpoint was verified and read.",
        "checkpoint_damaged": "A checkpoint does not agree with its manifest; an older one is tried.",
        "checkpoint_removed": "An old checkpoint was removed (--keep-checkpoints).",
        "checkpoints_not_pruned": "Old checkpoints could not be removed.",
        "leftover_not_removed": "What a killed save left could not be removed.",
    },
    "Studies (events.jsonl of a study's folder)": {
        "study_started": "Runs in all and to do, how many side by side, the threads of each, expected seconds.",
        "cell_started": "A run of the study begins.",
        "cell_finished": "A run has its result.",
        "cell_failed": "A run ended with an error; the same call tries it again.",
        "study_finished": "Runs that have a result.",
    },
}
"""What each kind says, by group, in the order of the page."""

FILES: dict[str, str] = {
    "config.json": "Every setting, by section. The same command finds by it that it resumes.",
    "environment.json": "Versions, processor and threads that the run was trained with; differences are warned of.",
    "initial.json": "Of a run from other weights: where they came from, and their hash.",
    "domains.json": "The text: for each domain name, hashes, bytes, documents and tokens of both splits, each file, "
    "and how much of the held-out text repeats training text.",
    "tokenizer.json": "What turns text into tokens, as the library tokenizers reads it.",
    "events.jsonl": "Everything that happened: one event a line, as above.",
    "matrix.json": "`domains`; a table by the name of its measure (`bits_per_byte`) and of each detail "
    "(`perplexity`): a row for each number of learned tasks, row 0 before training, a column a domain, null where not "
    "measured; `reasons` of empty cells; `metrics` and `lost_gain_fractions`, each with its value or the reason why "
    "there is none.",
    "tasks.json": "`tasks`: name, epochs, settings that differ, hashes, steps, forgetting and gain of each; "
    "`attempts`: the same of tasks that were taken back, with the reason and each domain before and after.",
    "heldout": "Copies of what is held out of each text, by content hash (--keep-heldout-bytes).",
    "tensorboard": "The numbers of the events for TensorBoard.",
    "metrics.csv": "The numbers of the events as a table (--logger csv).",
    "report.html": "The report, once asked for.",
    "checkpoints": "`step-00000040/` and so on; {doc}`../checkpoints` says what is in one and what is promised of it.",
    "run.lock": "Locked by the one process that may train here; the file staying behind means nothing.",
}
"""What each file or folder of a run's folder holds."""


def meaning_of(kind: str) -> str | None:
    """Return what a kind of event says; None where it is not known here."""
    return next((kinds[kind] for kinds in KINDS.values() if kind in kinds), None)
