"""packetdrill's scripts against emu's TCP: one host with a tun device, and a script that plays the network and the program.

The language is that of github.com/google/packetdrill. Must not know Kubernetes, scenarios or files of captures.
"""
