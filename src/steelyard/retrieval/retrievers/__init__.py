"""Retrievers that are parts: one module each."""
