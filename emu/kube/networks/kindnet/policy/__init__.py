"""NetworkPolicies of kindnet: nftables queues the first packet of a connection, and a program in user space judges it."""
