"""L2: devices, cables and bridges. Knows no IP."""
