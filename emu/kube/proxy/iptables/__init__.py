"""kube-proxy in iptables mode."""
