"""Ranking: an order of many models from gold answers, from judges, or without either."""
