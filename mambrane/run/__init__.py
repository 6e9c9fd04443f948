"""A run from its configuration to its result: settings, presets, what is built from them, training, opening again."""
