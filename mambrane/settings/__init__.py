"""Every setting of a run as one value: presets, recipes, what needs what, methods, weights to start from."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submodules=["presets"])
