"""The kinds of questions: each reads one sight of a packet, and drafts a question about it or none. Must not know other sights."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from emu.quiz.question import Draft, Sight, Surroundings
from emu.rule import AnyRule
from emu.trail import Born, Dropped, Forbidden, Natted, Policy
from emu.wire.addr import ip4_text
from emu.wire.captured import macs
from emu.wire.frame import ICMP, TCP
from emu.wire.summary import Summary, read
from emu.wire.tcp import RST

CHOICES = 4  # of a question about one of many
SOURCE, DESTINATION, BOTH, NEITHER = "its source", "its destination", "its source and its destination", "neither"
DROPPED, ANSWERED = "it is dropped without an answer", "it is dropped, and its sender gets an answer"
FORWARDED, DELIVERED = "it is forwarded", "it is delivered to a socket here"
NOTHING = "nothing"


def endpoint(sight: Sight, around: Surroundings) -> Draft | None:
    """Which address a DNAT rule chooses."""
    nat = next((each for each in sight.frame.trail if isinstance(each, Natted) and each.kind == "DNAT"), None)
    if nat is None or not any(isinstance(each, AnyRule) and each.table == "nat" for each in sight.frame.trail):
        return None
    (old, port), (new, new_port) = nat.before, nat.after
    wrong = [addr for addr in around.hosts() if addr not in (ip4_text(old), ip4_text(new))]
    right = f"{around.named(new)} port {new_port}"
    choices = [right, *(f"{around.shown(addr)} port {new_port}" for addr in wrong[: CHOICES - 2])]
    choices.append(f"{around.named(old)} port {port}: it stays as it is")
    ask = f"A new connection to {around.named(old)} port {port} is at {sight.owner}. To which address is it sent on?"
    return Draft(ask, choices, (old, port))


def rewrite(sight: Sight, around: Surroundings) -> Draft | None:
    """Which address NAT rewrites, or that none is rewritten."""
    if sight.before is None or sight.frame.direction == "drop":
        return None
    kinds = tuple(each.kind for each in sight.frame.trail if isinstance(each, Natted))
    walked = any(isinstance(each, AnyRule) and each.table == "nat" for each in sight.frame.trail)
    if not kinds and not walked:
        return None
    was, now = read(sight.before.data), read(sight.frame.data)
    changed = (was.src != now.src, was.dst != now.dst)
    right = {(True, False): SOURCE, (False, True): DESTINATION, (True, True): BOTH}.get(changed, NEITHER)
    ask = f"A packet from {around.named(was.src)} to {around.named(was.dst)} goes through {sight.owner}. Which address is rewritten there?"
    return Draft(ask, _first(right, [SOURCE, DESTINATION, BOTH, NEITHER]), (sight.owner, kinds))


def next_hop(sight: Sight, around: Surroundings) -> Draft | None:
    """By which interface a packet leaves a namespace."""
    before = sight.before
    mine = around.devices[sight.owner]
    if before is None or not sight.crossed or len(mine) < 2:
        return None
    right = sight.frame.place.device_name
    wrong = [name for name in mine if name != right][: CHOICES - 1]
    was = read(sight.frame.data)
    ask = f"{sight.owner} received a packet to {around.named(was.dst)} on {before.place.device_name}. By which interface does it leave?"
    return Draft(ask, [right, *wrong], (sight.owner, was.dst))


def fields(sight: Sight, around: Surroundings) -> Draft | None:
    """Which header fields differ at the next interface."""
    if sight.before is None or sight.frame.direction == "drop":
        return None
    was, now = read(sight.before.data), read(sight.frame.data)
    if was.fragment or now.fragment or was.proto != now.proto:
        return None
    parts = {
        "the MAC addresses": macs(sight.before.data) != macs(sight.frame.data),
        "the TTL": was.ttl != now.ttl,
        "an IP address": (was.src, was.dst) != (now.src, now.dst),
    }
    right = " and ".join(name for name, changed in parts.items() if changed) or NOTHING
    usual = [NOTHING, "the MAC addresses", "the MAC addresses and the TTL", "an IP address"]
    ask = f"The packet was at {sight.before.place.name}. Next it is seen at {sight.frame.place.name}. What differs in its headers?"
    return Draft(ask, _first(right, usual), right)


def verdict(sight: Sight, around: Surroundings) -> Draft | None:
    """What becomes of a packet at a drop, or where filter rules let it pass."""
    frame = sight.frame
    if any(isinstance(each, Dropped) for each in frame.trail):
        right = ANSWERED if frame.packet_number in around.answered else DROPPED
    elif sight.crossed and any(isinstance(each, AnyRule | Policy) and each.table == "filter" for each in frame.trail):
        right = FORWARDED
    else:
        return None
    now = read(frame.data)
    ask = f"A packet from {around.named(now.src)} to {around.named(now.dst)} is at {sight.owner}. What becomes of it?"
    return Draft(ask, _first(right, [FORWARDED, DELIVERED, DROPPED, ANSWERED]), (sight.owner, right))


def policy(sight: Sight, around: Surroundings) -> Draft | None:
    """Which side of which pod's policies ends a packet."""
    found = next((each for each in sight.frame.trail if isinstance(each, Forbidden)), None)
    if found is None:
        return None
    now = read(sight.frame.data)
    ends = [around.names.get(ip4_text(addr), ip4_text(addr)) for addr in (now.src, now.dst)]
    right = f"those for {found.way} of {found.pod}"
    ask = f"Network policies forbid a packet from {around.named(now.src)} to {around.named(now.dst)}. Which policies?"
    return Draft(
        ask, _first(right, [f"those for {way} of {end}" for end in ends for way in ("egress", "ingress")]), right
    )


def answer(sight: Sight, around: Surroundings) -> Draft | None:
    """What a namespace answers to a packet that it does not want, or to an echo."""
    frame = sight.frame
    if not frame.cause or not any(isinstance(each, Born) for each in frame.trail):
        return None
    now = read(frame.data)
    right = _word(now)
    if not right:
        return None
    ask = f"{sight.owner} has received a packet from {around.named(now.dst)}. What does it send back?"
    return Draft(ask, _first(right, [NOTHING, "a TCP reset", "an ICMP error", "an echo reply"]), (sight.owner, right))


def _word(seen: Summary) -> str:
    if seen.proto == TCP:
        return "a TCP reset" if seen.flags & RST else ""
    if seen.proto == ICMP:
        return "an echo reply" if seen.sport == 0 else "an ICMP error" if seen.quote else ""
    return ""


def _first(right: str, choices: list[str]) -> list[str]:
    return [right, *(each for each in choices if each != right)]


KINDS: Mapping[str, Callable[[Sight, Surroundings], Draft | None]] = {
    "endpoint": endpoint, "rewrite": rewrite, "policy": policy, "verdict": verdict, "answer": answer, "next-hop": next_hop, "fields": fields,
}  # fmt: skip
