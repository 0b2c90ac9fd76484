"""The network between nodes."""
