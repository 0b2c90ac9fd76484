"""Pod network `flannel`."""
