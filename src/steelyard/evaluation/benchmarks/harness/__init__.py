"""Task configurations in the format of lm-evaluation-harness: reading, asking and marking by its rules."""
