"""The network between the nodes, and the outside, one file for each kind. Must not know pods."""
