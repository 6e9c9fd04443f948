"""The report: one HTML page about a run, its parts and its pictures."""
