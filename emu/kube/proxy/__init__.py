"""kube-proxy: Services and EndpointSlices in, rules out. Compiling is pure; putting rules in force is another's line."""
