"""Watching a run: the console, TensorBoard and the history of events, all of them listeners or readers of the log."""
