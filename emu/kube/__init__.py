"""Kubernetes: objects, controllers, kube-proxy, CNI, kubelet, and the cluster that joins them. Must not know scenarios."""
