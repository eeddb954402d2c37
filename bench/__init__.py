"""Benchmarks: load programs on loopback, ratios to the bars of the architecture, in one run."""
