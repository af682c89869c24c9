"""Compression: parts that take open weights and return cheaper ones."""
