"""Evaluation: task files, prompts, grades, statistics, and the measuring itself."""
