"""Judging: language models that compare and grade answers, and how far to trust them."""
