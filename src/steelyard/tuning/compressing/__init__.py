"""Compressing a model: apply parts, measure what they cost, and hand the result over with its cards."""
