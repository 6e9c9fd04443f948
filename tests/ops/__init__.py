"""Each operation: the kernel against the reference, on odd sizes, in every type."""
