"""An affine layer whose products go through `mambrane.ops.linear`."""

from collections.abc import Sequence

from torch import Tensor, nn

from mambrane.kernels.autocast import as_factor
from mambrane.ops.linear import linear


class Linear(nn.Linear):
    """torch.nn.Linear, parameter names and arithmetic included, with the fastest exact product of the device."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x W^T + b [..., out_features]."""
        return linear(x, self.weight, self.bias)

    def parts(self, x: Tensor, sizes: Sequence[int]) -> list[Tensor]:
        """Return the output of a layer without bias cut into parts of these sizes.

        There is a product for each part: slices of one output would be strided, and the kernels behind would copy them,
        as the way back would copy their gradients into one.
        """
        # Once for all parts; autocast would do it for each, and add up their gradients in float32.
        x = as_factor(x)
        return [linear(x, part_OI) for part_OI in as_factor(self.weight).split(list(sizes))]
