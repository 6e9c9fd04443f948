"""Tasks one after another: the stream, replay, consolidation, the forgetting matrix, the runner."""
