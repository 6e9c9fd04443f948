"""What kernels are built from: compilation, vectors, tiles, products, threads, scratch memory, registration."""
