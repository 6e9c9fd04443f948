"""The kit of the GPU kernels in Triton: starting them, operators of torch around them, functions of numbers.

Triton is optional. An operation's `triton_gpu.py` is plain PyTorch: shapes, memory, which kernel is started on what.
Its `triton_kernels.py` holds the kernels, imports Triton, and is read when the first of them is started.

With TRITON_INTERPRET=1 Triton runs kernels on CPU tensors, slowly, as NumPy does: then `backend="triton"` is allowed on
the CPU. This is how the tests prove them without a GPU.
"""
