"""Search: how well retrievers find what people judged to be relevant."""
