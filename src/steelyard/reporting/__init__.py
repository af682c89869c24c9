"""Reports: one JSON-ready record in, a self-contained HTML page or a terminal rendering out."""
