"""A stand-in for a GPU: the CUDA kernels as g++ compiles them, run thread by thread on the CPU."""
