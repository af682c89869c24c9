"""Models as compressors."""
