"""Cluster DNS: CoreDNS's answers, the stub resolver, and the set-up of both. Must not know flows."""
