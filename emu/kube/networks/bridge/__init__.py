"""Pod network `bridge`."""
