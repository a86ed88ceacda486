"""Benchmarks: each is a module to run, prints a table and writes JSON under docs/benchmarks."""
