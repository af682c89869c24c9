"""Acquisition: which results to measure next, and what the unmeasured ones would be."""
