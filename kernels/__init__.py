"""Fused operations, each with three faces: plain reference, numba on the CPU, GPU."""
