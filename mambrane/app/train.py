"""`mambrane train`: start a run, or go on with it. The same words do both."""

import shlex
import sys
from contextlib import closing, suppress

from mambrane.app.info import print_learned
from mambrane.app.plan import print_plan
from mambrane.app.samples import SampleListener, print_samples
from mambrane.app.streams import flush_or_give_up
from mambrane.core.launch import is_first_process
from mambrane.core.memory import keep_freed_memory
from mambrane.settings.config import RunConfig
from mambrane.training.train import train as train_run
from mambrane.watch.console import ConsoleListener
from mambrane.watch.plain_console import plain_console

NEXT = """
mambrane report {run}      one HTML page with pictures
mambrane generate {run} --prompt "..."
"""


def train(config: RunConfig, warnings: list[str], *, plan_as_json: bool = False) -> int:
    """Train, or resume; returns 0 at the end and 128 + signal number after a signal."""
    keep_freed_memory()
    if config.run.dry_run:
        return print_plan(config, warnings, as_json=plan_as_json)
    console, samples = ConsoleListener(), SampleListener()
    with closing(console):
        run = train_run(config, listeners=[console, samples], warnings=warnings)
    assert run.outcome is not None, "a run that was trained has one"
    if run.outcome.is_finished and is_first_process():
        with suppress(OSError, SystemExit):
            # The console has shown the matrix at the end of the training.
            print_learned(run, plain_console(), with_matrix=False)
            print_samples(samples.samples)
            sys.stdout.write(NEXT.format(run=shlex.quote(str(run.folder))))
    # Whether anybody could read along changes nothing about the run.
    flush_or_give_up("stdout")
    return run.outcome.exit_code
