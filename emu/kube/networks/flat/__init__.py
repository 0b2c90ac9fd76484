"""Pod network `flat`."""
