"""A VPC of Amazon's as an underlay: what it is made of, its checks, its gateways. Must not know pods."""
