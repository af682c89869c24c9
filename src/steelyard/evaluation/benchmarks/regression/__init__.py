"""Regression from examples in the prompt."""
