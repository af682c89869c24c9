"""Statements about themselves."""
