"""Tasks one after another: the stream, replay, consolidation, distillation, the forgetting matrix, the runner."""
