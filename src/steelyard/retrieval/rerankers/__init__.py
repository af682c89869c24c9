"""Rerankers: language models that put the passages a retriever found into a better order."""
