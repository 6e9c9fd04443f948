"""Four training engines on the same cases; run it with `python -m benchmarks.engine_peers`."""
