"""One file a CNI plugin; `spec.plugins` finds them. They know namespaces and their own keys, not pods or nodes."""
