"""Container networks: the CNI specification's plugins and their runtime. Must not know Kubernetes objects."""
