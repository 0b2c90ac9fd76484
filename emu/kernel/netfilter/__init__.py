"""Rules, connections and NAT: knows no device class and no routing table."""
