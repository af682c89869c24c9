"""The quick suite: a profile of a model by skill."""
