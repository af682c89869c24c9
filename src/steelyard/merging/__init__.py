"""Merging models in weight space, and evolving populations of them."""
