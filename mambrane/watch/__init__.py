"""Watching a run: the console, loggers and the history of events, all of them listeners or readers of the log."""
