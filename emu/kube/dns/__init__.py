"""Cluster DNS: what CoreDNS answers, how a resolver asks, and how both are set up."""
