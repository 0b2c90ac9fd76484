"""L4 of one namespace: sockets, UDP, ping, TCP. Must not know apps or Kubernetes."""
