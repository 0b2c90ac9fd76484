"""Replays: the flows of a capture, spoken again in a cluster. `recorded` reads, `hosts` maps, `stateful` and `frames` send,
`paired` states what became of each packet, `engine` holds them together. Must not know commands, steps or reports."""
