"""Pod network `calico`: routed pods with /32 addresses, blocks of a pool, and felix's rules."""
