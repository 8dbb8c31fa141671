"""The kernels: device code and jitted code only.

`kseg_batch.backends` allocates the arrays and calls the kernels.
"""
