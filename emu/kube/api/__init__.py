"""Kubernetes objects as typed, frozen values, one file a kind group, and the loader of manifests.

`kinds` lists the kinds, `loader` reads manifests, `documents` reads YAML and JSON
with line marks. Must not know the store, controllers, or what a network is.
"""
