"""Benchmarks: published tasks and suites, and measures of models, one part a module."""
