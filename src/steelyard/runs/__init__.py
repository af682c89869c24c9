"""The record of everything measured: the run store, its export, and the environment a run ran in."""
