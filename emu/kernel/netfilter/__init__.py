"""Rules, connections and NAT. Must not know a device's class or a routing table."""
