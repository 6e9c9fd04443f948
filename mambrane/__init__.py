"""Mambrane trains hybrid spiking, liquid and Mamba language models on a sequence of tasks, without forgetting.

The public names stand in `__init__.pyi` and, explained, in docs/api.md; all others are private. Each is imported when
it is first used, so that the command line answers at once: this package alone imports no torch.

    import mambrane
    run = mambrane.train(mambrane.presets.tiny(), listeners=[mambrane.ConsoleListener()])
    print(run.generate("def "))
"""

import lazy_loader

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
