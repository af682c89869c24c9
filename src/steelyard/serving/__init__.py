"""Serving: an OpenAI-compatible HTTP server around any :class:`~steelyard.contracts.LanguageModel`."""
