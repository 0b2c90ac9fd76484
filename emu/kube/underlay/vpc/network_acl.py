"""Network ACLs: what may enter and leave a subnet. They are stateless: an answer needs a rule of its own.

Rules are tried by their numbers, the first that matches decides, and what none matches is denied (`*`). Source: Amazon VPC
User Guide, "Network ACLs". Must not know subnets.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from emu.errors import InputError
from emu.kube.underlay.vpc.traffic import Traffic, parse_traffic
from emu.wire.addr import Prefix, decimal
from emu.wire.frame import Frame

HIGHEST = 32766
EXPECTED = "100 allow tcp 80 0.0.0.0/0"


@dataclass(frozen=True, slots=True)
class AclRule:
    """Rule `number` allows or denies `traffic` from (or to) `peer`."""

    number: int
    allows: bool
    traffic: Traffic
    peer: Prefix

    def __str__(self) -> str:
        return f"{self.number} {'allow' if self.allows else 'deny'} {self.traffic} {self.peer}"


DEFAULT = AclRule(100, True, Traffic(), Prefix(0, 0))


@dataclass(eq=False)
class NetworkAcl:
    """The one that comes with a VPC allows everything (rule 100)."""

    id: str
    ingress: list[AclRule] = field(default_factory=lambda: [DEFAULT])
    egress: list[AclRule] = field(default_factory=lambda: [DEFAULT])

    def denies(self, frame: Frame, addr: int, *, entering: bool) -> str:
        """Why a packet may not pass, "" if it may. `addr` is its end that is not in the subnet."""
        rules = self.ingress if entering else self.egress
        for rule in sorted(rules, key=lambda each: each.number):
            if addr in rule.peer and frame in rule.traffic:
                return "" if rule.allows else f"rule {rule}"
        return "rule *"


def parse_acl_rule(text: str) -> AclRule:
    """`100 allow tcp 80 0.0.0.0/0`. Raises InputError."""
    words = text.split()
    number = decimal(words[0]) if words else None
    if number is None or not 1 <= number <= HIGHEST or len(words) < 4 or words[1] not in ("allow", "deny"):
        raise InputError(f"{text!r} is no rule of a network ACL", expected=EXPECTED)
    rest = words[2:]
    traffic = parse_traffic(rest)
    if len(rest) != 1:
        raise InputError(f"{text!r} is no rule of a network ACL", expected=EXPECTED)
    return AclRule(number, words[1] == "allow", traffic, Prefix.parse(rest[0], strict=True))
