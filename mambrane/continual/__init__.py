"""Tasks one after another: the stream, replay, regularizer, distillation, the forgetting matrix, the runner."""
