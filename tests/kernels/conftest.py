"""The kit's tests run as those of the operations do."""

from tests.kernels.user_kernels import folder  # noqa: F401 -- a fixture
from tests.ops.conftest import _poison_uninitialised_memory, num_threads  # noqa: F401 -- fixtures
