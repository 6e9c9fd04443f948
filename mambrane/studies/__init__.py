"""Studies: a grid of settings, seeds and task orders as runs side by side, and the table that they make."""
