"""Graded relations between named entities."""
