"""Systems: language models made of a model, a way of asking it and, later, other models."""
