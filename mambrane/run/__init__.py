"""A run from its configuration to its result: settings, presets, what is built from them, training, opening again."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submodules=["presets"])
