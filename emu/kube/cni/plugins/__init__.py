"""The CNI plugins, one file each; `spec.plugins` finds them. Must not know pods or nodes, only namespaces and their own keys."""
