"""Ladders and topologies drawn as text, Mermaid and DOT, from a run or from a file that emu wrote.

`sight` is one frame at one interface, whatever it comes from; `journeys` are the packets that the sights belong to. One file a
form. Must not know commands.
"""
