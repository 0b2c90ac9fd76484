"""The network policy agent of the Amazon VPC CNI: policies as addresses and ports in maps, which a program at each pod's veth asks."""
