"""The hybrid block and the language model made of it, their state, their cost."""
