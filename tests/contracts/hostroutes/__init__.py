"""An example of a pod network in one folder: a .conflist, what it needs of a node, and a node agent of its own."""
