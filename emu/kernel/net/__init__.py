"""L3 of one namespace: input, forward, output, ARP and neighbours, routes, ICMP. Must not know sockets."""
