"""NetworkPolicy: what policies mean as a pure function, and one folder for each dataplane that enforces them on a node."""
