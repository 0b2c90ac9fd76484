"""Flows: who talks to whom, by which name, and what became of it."""
