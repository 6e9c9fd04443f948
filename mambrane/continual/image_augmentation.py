"""Augmentation: each image that is learned is moved, turned and stretched a little, at random and anew each time.

    place in the old image = turn(angle) (stretch * place in the new image) + shift

both from the middle, and what stands at the old place is what the new image has at the new one. With `angle` up to
--image-rotation-degrees to either side, each axis stretched by 1 up to --image-stretch more or less, and moved by up to
--image-shift-pixels, all drawn uniformly. Between elements (data/image_tokens.py) is interpolated linearly; what comes
in from outside is black. Images that are remembered or measured stay as they are.

It makes much of a small memory: the same few images are replayed again and again, and learned by heart where nothing
about them changes. Source: Simard et al. 2003, "Best practices for convolutional neural networks applied to visual
document analysis".
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mambrane.core.seeding import make_generator
from mambrane.data.batch import MicroBatch
from mambrane.data.config import DataConfig
from mambrane.data.image_tasks import element_rows_and_columns
from mambrane.data.image_tokens import BRIGHTEST, ELEMENT_PIXELS, elements_of_tokens, tokens_of
from mambrane.engine.method import Method

BYTES = 256


class ImageAugmentation(Method):
    """Batch mixer behind replay: changes the images of a micro-batch, old and new."""

    name = "image_augmentation"
    across_ranks = True
    """It draws for the whole micro-batch, before it is cut."""
    across_shards = True

    @classmethod
    def is_used(cls, config: Any) -> bool:  # noqa: ANN401 -- a run's configuration
        """Return whether the configuration turns it on."""
        return config.run.task == "vision" and config.data.augments_images

    @classmethod
    def label_in(cls, config: Any) -> str:  # noqa: ANN401 -- a run's configuration
        """Return its name where there are images; a summary of text does not say that no image changes."""
        return super().label_in(config) if config.run.task == "vision" else ""

    @classmethod
    def build(cls, config: Any, model: nn.Module) -> "ImageAugmentation":  # noqa: ANN401 -- a run's configuration
        """Return it for a run."""
        return cls(config.data, *element_rows_and_columns(config.data), seed=config.run.seed)

    def __init__(self, config: DataConfig, rows: int, columns: int, *, seed: int) -> None:
        """Take images of so many rows and columns of elements."""
        self.config = config
        self.rows, self.columns = rows, columns
        self._generator = make_generator(seed, "image augmentation")

    def mix(self, batch: MicroBatch) -> MicroBatch:
        """Return the batch with its images changed; a row that is no image stays."""
        tokens_BL = batch.inputs_BT[:, 1:]
        matrices = self._draw(len(tokens_BL))
        is_image_B = (tokens_BL < BYTES).all(dim=1)
        elements = elements_of_tokens(tokens_BL.clamp(max=BYTES - 1), self.config.image_tokens, self.rows, self.columns)
        changed_BL = tokens_of(self.changed(elements, matrices.to(elements.device)), self.config.image_tokens)
        inputs_BT = batch.inputs_BT.clone()
        inputs_BT[:, 1:] = torch.where(is_image_B[:, None], changed_BL.to(tokens_BL), tokens_BL)
        return batch._replace(inputs_BT=inputs_BT)

    def _draw(self, num_images: int) -> Tensor:
        """Return the matrix of each image, float32 [N, 2, 3]: from a new place (column, row, 1) to the old one."""
        config = self.config
        turn, stretch_x, stretch_y, x, y = torch.rand(5, num_images, generator=self._generator) * 2 - 1
        angle = turn * math.radians(config.image_rotation_degrees)
        cos, sin = angle.cos(), angle.sin()
        stretch_x, stretch_y = (1 + config.image_stretch * part for part in (stretch_x, stretch_y))
        shift = config.image_shift_pixels / ELEMENT_PIXELS[config.image_tokens]
        rows = (
            torch.stack([cos * stretch_x, -sin * stretch_y, x * shift]),
            torch.stack([sin * stretch_x, cos * stretch_y, y * shift]),
        )
        return torch.stack(rows).permute(2, 0, 1)

    def changed(self, elements: Tensor, matrices: Tensor) -> Tensor:
        """Return images as their matrices change them.

        Args:
            elements: uint8 [N, rows, columns].
            matrices: float32 [N, 2, 3], in elements from the middle of the image: for each place of the new image, as
                (column, row, 1), the place of the old one that it is taken from, as (column, row).
        """
        rows, columns = (
            torch.arange(number, device=elements.device) - (number - 1) / 2 for number in (self.rows, self.columns)
        )
        row, column = torch.meshgrid(rows, columns, indexing="ij")
        places = torch.stack([column, row, torch.ones_like(row)], dim=-1)
        read = torch.einsum("nij,rcj->nrci", matrices, places)
        # torch counts from -1 to 1 between the outer edges.
        read = read * 2 / read.new_tensor([self.columns, self.rows])
        moved = F.grid_sample(elements[:, None].float(), read, align_corners=False)[:, 0]
        return moved.round().clamp(0, BRIGHTEST[self.config.image_tokens]).to(torch.uint8)

    def undo_point(self) -> Callable[[], None]:
        """Return what undoes every `mix` from here on: what was drawn is drawn again."""
        state = self._generator.get_state()

        def undo() -> None:
            self._generator.set_state(state)

        return undo

    def state_dict(self) -> dict[str, Any]:
        """Return the generator."""
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        self._generator.set_state(state["generator"])
