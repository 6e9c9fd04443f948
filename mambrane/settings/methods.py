"""The methods that a run may have, in the order in which they act. A new one is its file and a line here."""

from collections.abc import Sequence

from torch import nn

from mambrane.continual.dark_replay import DarkReplay
from mambrane.continual.distillation import Distillation
from mambrane.continual.image_augmentation import ImageAugmentation
from mambrane.continual.regularizer import Regularizer
from mambrane.continual.replay import Replay
from mambrane.continual.reptile import Reptile
from mambrane.continual.row_plasticity import RowPlasticity
from mambrane.engine.extensions import Extensions
from mambrane.engine.method import Method
from mambrane.plasticity.activity import ActivityProbe
from mambrane.plasticity.meta_plasticity import MetaPlasticity
from mambrane.plasticity.stdp import Stdp
from mambrane.settings.config import RunConfig

METHODS: tuple[type[Method], ...] = (
    Stdp,
    MetaPlasticity,
    RowPlasticity,
    Replay,
    ImageAugmentation,
    DarkReplay,
    Regularizer,
    Distillation,
    Reptile,
    ActivityProbe,
)


def methods_of(config: RunConfig) -> list[type[Method]]:
    """Return the methods that a configuration turns on."""
    return [method for method in METHODS if method.is_used(config)]


def build_extensions(config: RunConfig, model: nn.Module, from_outside: Sequence[object] = ()) -> Extensions:
    """Return the methods of a run and the extensions from other packages, each in every seam that it fills."""
    own = [method.build(config, model) for method in methods_of(config)]
    for method in (*own, *from_outside):
        if isinstance(method, Method):
            method.meet(own)
    return Extensions.of(*own, *from_outside)


def shown_numbers(config: RunConfig, from_outside: Sequence[object] = ()) -> list[dict[str, str]]:
    """Return what the extensions of a run say of the numbers they show: name, title and headline."""
    return [
        {"name": f"{extension.name}/{number.name}", "title": number.title, "headline": number.headline}
        for extension in (*methods_of(config), *from_outside)
        if isinstance(extension, Method) or extension in METHODS
        for number in extension.numbers
    ]
