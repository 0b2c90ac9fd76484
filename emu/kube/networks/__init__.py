"""Pod networks, one folder each: the .conflist, the needs of node and underlay, the node agent if any. Must not know pods."""
