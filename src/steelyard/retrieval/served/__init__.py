"""An index of passages in PostgreSQL, for collections larger than one machine or shared by several.

place          the URL that names an index
schema         its tables
filters        conditions on metadata as SQL
served_writer  adds and deletes, in transactions
served_state   what one moment holds, searched in SQL: BM25 over inverted lists, vectors by pgvector
served_index   the retriever over all of it
"""
