"""The network between the nodes, and the outside. One file a kind of underlay; none knows pods."""
