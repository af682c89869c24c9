"""LMentry's elementary language tasks, generated and official."""
