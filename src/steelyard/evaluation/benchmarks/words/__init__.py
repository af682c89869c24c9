"""Word-level measures: perplexity over words, shared log-probabilities, mixtures of models."""
