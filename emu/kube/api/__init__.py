"""Kubernetes objects as typed, frozen values, one file a kind group, and the loader of manifests.

`kinds` says which kinds there are, `loader` reads manifests, `yaml_documents` reads YAML and JSON
with line marks. Must not know the store, controllers, or what a network is.
"""
