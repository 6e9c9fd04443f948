"""The training loop: windows of micro-batches, precision, optimizer, schedule, average, checkpoints."""
