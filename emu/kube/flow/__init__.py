"""Flows: their ends, the names of addresses, one file for each kind of flow, and outcomes. Must not know scenarios."""
