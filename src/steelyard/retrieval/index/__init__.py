"""An index of passages in one folder: lexical, dense and hybrid search over immutable segments.

records        settings, manifest, columns of strings
what is kept   analysis and postings (words), vectors (meaning), metadata
segment        immutable arrays of some passages, memory-mapped
writer         adds, deletes and merges; publishes generation after generation
snapshot       what one generation holds, searched without locks
document_index the retriever over all of it
"""
