"""Fused operations, each with three backends: plain reference, numba on the CPU, GPU."""
