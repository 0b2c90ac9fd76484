"""L2: devices, cables and bridges. Must not know IP."""
