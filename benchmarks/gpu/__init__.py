"""The GPU backends measured: see `benchmarks.gpu_trial`."""
