"""What there is to find in scenarios, manifests, exports and rules, without a packet: each finding has an id of a closed list.

The findings arise where something is read or compared, as `emu.modelled.Finding`; here they are gathered, weighed and written.
Must not know commands.
"""
