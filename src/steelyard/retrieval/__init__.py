"""Finding passages: documents in, chunks, indexes, retrievers and rerankers."""
