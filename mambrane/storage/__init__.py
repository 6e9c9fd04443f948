"""Durable files: atomic writes, states, manifests, checkpoints, their saver, and the folder of a run."""
