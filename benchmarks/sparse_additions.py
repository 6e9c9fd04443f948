"""Additions of spikes against dense products on this CPU: the same result, at several shares of numbers that are not 0.

    python -m benchmarks.sparse_additions

One thread. A row of ternary numbers times a matrix: the dense product (float32, oneDNN or MKL), a compiled loop that
adds or takes away a row of weights for each spike, and torch's product of a sparse matrix (CSR). Medians, in
microseconds for each row; parity is checked first.
"""

import statistics
import time
import warnings
from collections.abc import Callable

import numba
import numpy as np
import torch

from mambrane.ops.linear import linear

SHAPES = ((128, 512), (256, 128), (512, 2048))
ROWS = (1, 256)
SHARES = (0.02, 0.1, 0.3, 0.6)
REPEATS = 7


@numba.njit(fastmath=True, boundscheck=False)
def add_rows(spikes_NI: np.ndarray, weight_IO: np.ndarray, out_NO: np.ndarray) -> None:
    """Write spikes times weights, by additions alone."""
    for n in range(spikes_NI.shape[0]):
        out_NO[n, :] = 0.0
        for i in range(spikes_NI.shape[1]):
            if spikes_NI[n, i] > 0:
                for o in range(weight_IO.shape[1]):
                    out_NO[n, o] += weight_IO[i, o]
            elif spikes_NI[n, i] < 0:
                for o in range(weight_IO.shape[1]):
                    out_NO[n, o] -= weight_IO[i, o]


def microseconds(function: Callable[[], object], rows: int) -> float:
    """Return the median processor time of a call for each row."""
    function()
    calls = max(1, 512 // rows)
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        for _ in range(calls):
            function()
        times.append((time.process_time() - start) / calls / rows)
    return 1e6 * statistics.median(times)


def measure(inputs: int, outputs: int, rows: int, share: float) -> tuple[float, float, float]:
    """Return the times of dense product, additions and sparse product."""
    generator = torch.Generator().manual_seed(0)
    weight_OI = torch.randn(outputs, inputs, generator=generator)
    signs = torch.randint(0, 2, (rows, inputs), generator=generator) * 2 - 1
    spikes_NI = (torch.rand(rows, inputs, generator=generator) < share).float() * signs
    weight_IO, out_NO = weight_OI.T.contiguous(), torch.empty(rows, outputs)
    codes, weights, out = spikes_NI.to(torch.int8).numpy(), weight_IO.numpy(), out_NO.numpy()
    sparse_NI = spikes_NI.to_sparse_csr()
    with torch.inference_mode():
        add_rows(codes, weights, out)
        torch.testing.assert_close(out_NO, linear(spikes_NI, weight_OI), atol=1e-3, rtol=1e-4)
        return (
            microseconds(lambda: linear(spikes_NI, weight_OI), rows),
            microseconds(lambda: add_rows(codes, weights, out), rows),
            microseconds(lambda: sparse_NI @ weight_IO, rows),
        )


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    # That sparse tensors are in beta.
    warnings.filterwarnings("ignore", message="Sparse CSR")
    print(f"| shape | rows | not 0 | dense | additions | sparse |\n|{'---|' * 6}")
    for inputs, outputs in SHAPES:
        for rows in ROWS:
            for share in SHARES:
                times = " | ".join(f"{each:.2f}" for each in measure(inputs, outputs, rows, share))
                print(f"| {inputs} x {outputs} | {rows} | {share:.0%} | {times} |", flush=True)


if __name__ == "__main__":
    main()
