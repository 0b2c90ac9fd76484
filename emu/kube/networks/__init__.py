"""Pod networks, one folder a network: its .conflist, what it needs of node and underlay, and its node agent, if any."""
