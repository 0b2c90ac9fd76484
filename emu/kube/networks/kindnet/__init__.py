"""Pod network `kindnet`."""
