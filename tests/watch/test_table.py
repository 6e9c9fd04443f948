"""Tables of what was learned."""

from mambrane.continual.forgetting_metrics import Metric
from mambrane.continual.matrix import ForgettingMatrix
from mambrane.continual.measure import BITS_PER_BYTE
from mambrane.watch.table import matrix_tables, metric_text
from tests.measured import Loss
from tests.watch.shown import lines_with, shown


def test_a_log_file_has_tables_of_at_most_80_columns_without_wrapped_words():
    domains = [f"a-rather-long-name-{index}" for index in range(9)]
    matrix = ForgettingMatrix(domains, num_tasks=9)
    for row in range(10):
        for column in range(9):
            matrix.record(row, column, Loss(bits_per_byte=10.0 + column, perplexity=2.0))
    events = [{"time_s": 1.0, "event": "matrix", **matrix.state_dict()}, {"time_s": 1.0, "event": "run_finished"}]
    lines = shown(events).splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines_with("18.000", "\n".join(lines))) == 10


def test_a_metric_has_its_unit_and_an_undefined_one_its_reason():
    assert metric_text("forgetting", Metric(0.25), BITS_PER_BYTE) == "0.250 bits/byte"
    assert metric_text("lost_gain_fraction", Metric(0.25), BITS_PER_BYTE) == "25.0 %"
    assert metric_text("forgetting", Metric(None, "one task"), BITS_PER_BYTE) == "undefined: one task"


def test_with_many_domains_a_row_says_what_was_learned_and_kept():
    domains = [f"domain{index}" for index in range(13)]
    matrix = ForgettingMatrix(domains, num_tasks=13)
    for row in range(14):
        for column in range(13):
            matrix.record(row, column, Loss(bits_per_byte=1.0 + row + 0.001 * column, perplexity=2.0))
    (table,) = matrix_tables(matrix)
    cells = [[str(cell) for cell in column.cells] for column in table.columns]
    assert table.row_count == 13
    assert [column[1] for column in cells] == ["domain1", "1.001", "3.001", "14.001"]
