"""Open-ended answers beside the n-grams of many references."""
