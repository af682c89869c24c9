"""ALCE: long answers with citations, and whether the cited texts support them."""
