"""A node: its namespace, the pods in it, and the kubelet that runs them. Must not know flows."""
