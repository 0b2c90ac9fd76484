"""kube-proxy: makes rules from Services and EndpointSlices, and applies them. Must not know pods."""
