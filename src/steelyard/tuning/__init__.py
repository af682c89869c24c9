"""The main job: candidates, budgeted search, frontier, and the system that is handed over."""
