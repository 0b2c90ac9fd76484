"""kube-router's network policy controller, as it writes iptables rules and ipsets: the dataplane that refuses with REJECT."""
