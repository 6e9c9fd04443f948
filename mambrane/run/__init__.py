"""A trained run, opened from its folder: its model, text, samples, report, export, and how it compares."""
