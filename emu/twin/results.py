"""The result of a flow as its client's socket shows it, as lines that can be compared. Must not know frames or drops: a client
cannot see them.
"""

from __future__ import annotations

from emu.kube.flow.flow import Flow

# A client cannot distinguish a drop from a timeout: the frames and the drop monitor show it
CLASSES = {"dropped": "timeout", "undecided": "timeout"}


def shown(flow: Flow) -> list[str]:
    """The outcome, the bytes that came, and of a ping how many replies."""
    outcome = flow.outcome
    word = CLASSES.get(outcome.word, outcome.word)
    lines = [f"{word} {outcome.detail}" if word in ("error", "rejected") else word]
    if flow.received:
        lines.append(f"received {flow.received!r}")
    if flow.kind == "ping":
        lines.append(f"{len(flow.rtt_ns)} replies")
    return lines
