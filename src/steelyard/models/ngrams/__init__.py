"""Word n-gram language models: counting, Kneser-Ney smoothing, skipped positions, files."""
