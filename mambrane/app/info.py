"""`mambrane info RUN`: what the model is made of and costs, part by part, and what it has learned."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from mambrane.app.machine import print_machine
from mambrane.app.notices import announced_events
from mambrane.core.events import Event
from mambrane.layers.cost import ComponentCost, FiringRates
from mambrane.models.cost import count_costs
from mambrane.run.run import Run
from mambrane.run.saved import SavedRun
from mambrane.settings.shown_switches import on_and_off
from mambrane.watch.formatting import switches
from mambrane.watch.history import read_history
from mambrane.watch.plain_console import plain_console
from mambrane.watch.table import learning_table, matrix_tables, metrics_table

FOOTNOTE = (
    "Per token of a forward pass; one multiply-accumulate (MAC) is two FLOPs. Spike MACs read exactly 0 or 1 and are "
    "executed as dense products here; an event-driven machine would do the synaptic operations instead, one addition "
    "for each spike and synapse, {rates}. Between two tokens the model remembers {state:,} numbers of a sequence, "
    "however long it is."
)


def info(run: Path | None) -> int:
    """Print the parts of a run's model and their cost, what it has learned; without a run, this machine."""
    if run is None:
        return print_machine()
    opened = Run.open(run, events=announced_events())
    saved = opened.saved
    rates = last_firing_rates(saved, opened.events())
    console = plain_console()
    console.print(switches(*on_and_off(saved.config, saved.num_tasks)), soft_wrap=True)
    costs = count_costs(saved.model, rates)
    console.print(parts_table(costs, title=f"{run} after {saved.step:,} steps"))
    at = "counted at the firing rates of the last step" if rates else "counted as if every neuron always fired"
    console.print(FOOTNOTE.format(rates=at, state=sum(cost.state_numbers for cost in costs)), style="dim")
    print_learned(opened, console)
    return 0


def print_learned(run: Run, console: Console, *, with_matrix: bool = True) -> None:
    """Print the forgetting matrix with its metrics, and training beside held-out loss, where the run has them."""
    matrix = run.matrix
    if matrix is None:
        return
    if with_matrix:
        console.print("", *matrix_tables(matrix, console.width), metrics_table(matrix), sep="\n")
    learned = learning_table(read_history(run.events()), matrix)
    if learned is not None:
        console.print(learned)


def parts_table(costs: Sequence[ComponentCost], title: str) -> Table:
    """Return parameters, floating-point operations and spike-driven products by component, with a total."""
    table = Table(box=box.SIMPLE, title=title, title_justify="left", show_footer=True)
    rows = [(p.parameters, p.flops_per_token, p.spike_macs_per_token, p.synaptic_operations_per_token) for p in costs]
    totals = [sum(column) for column in zip(*rows, strict=True)]
    table.add_column("part", footer="total", no_wrap=True)
    for heading, total in zip(("parameters", "FLOPs", "spike MACs", "synaptic ops"), totals, strict=True):
        table.add_column(heading, justify="right", footer=f"{total:,.0f}")
    for cost, row in zip(costs, rows, strict=True):
        table.add_row(cost.name, *(f"{number:,.0f}" for number in row))
    return table


def last_firing_rates(saved: SavedRun, events: Iterable[Event]) -> list[FiringRates] | None:
    """Return the firing rates of both populations of each block in the last applied step, if the log has one."""
    numbers: dict[str, float] = {}
    for event in events:
        if event["event"] == "step":
            numbers = event.get("numbers") or numbers
    names = [(f"activity/first_rate_{b}", f"activity/second_rate_{b}") for b in range(saved.config.model.num_layers)]
    rates = [FiringRates(numbers.get(first), numbers.get(second)) for first, second in names]
    return rates if any(rate.first is not None for rate in rates) else None
