"""Questions over the whole cluster: who reaches which Service, and what differs between two clusters. Must not know the command line."""
