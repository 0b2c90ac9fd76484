"""Container networks: the CNI specification's plugins, their runtime, and the networks that come along."""
