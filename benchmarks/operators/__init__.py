"""Each operation against the best known outside implementation: parity first, then time, in one process."""
