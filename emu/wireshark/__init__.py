"""emu's captures in Wireshark: the profile and the script that ship with emu, and where they go on this machine.

`profile/` holds Wireshark's own files; `profile/emu.lua` makes fields of the comments. Must not know how captures are made.
"""
