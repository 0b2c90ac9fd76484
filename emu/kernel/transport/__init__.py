"""L4 of one namespace: sockets, UDP, ping, TCP."""
