"""Kubernetes: objects, controllers, kube-proxy, CNI, kubelet, and the cluster that joins them."""
