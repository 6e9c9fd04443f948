"""The training loop: steps of micro-batches, precision, optimizer, schedule, EMA, checkpoints."""
