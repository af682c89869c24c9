"""Open weights: finding, loading and saving them, families as data, and the engine behind the verbs."""
