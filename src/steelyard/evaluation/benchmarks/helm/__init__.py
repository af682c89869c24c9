"""HELM's grid of scenarios and metrics."""
