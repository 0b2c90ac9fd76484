"""ip-masq-agent's nat rules: what leaves the node for an address outside the private ranges takes the node's address.

Source: cmd/ip-masq-agent/ip-masq-agent.go of kubernetes-sigs/ip-masq-agent. Must not know which network brings them.
"""

from __future__ import annotations

from collections.abc import Sequence

# link-local and the private ranges (RFC 3927, RFC 1918): ip-masq-agent's defaults
NON_MASQUERADE = ("169.254.0.0/16", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")


def rules(non_masquerade: Sequence[str] = NON_MASQUERADE) -> str:
    """iptables-restore text (for `noflush`): traffic to the CIDRs `non_masquerade` keeps its source, the rest that leaves
    the node takes the node's address."""
    jump = "ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom IP-MASQ-AGENT chain"
    local = "local traffic is not subject to MASQUERADE"
    last = "outbound traffic is subject to MASQUERADE (must be last in chain)"
    lines = [
        "*nat",
        ":IP-MASQ-AGENT - [0:0]",
        f"-A POSTROUTING {_comment(jump)} -m addrtype ! --dst-type LOCAL -j IP-MASQ-AGENT",
        *(f"-A IP-MASQ-AGENT -d {cidr} {_comment(local)} -j RETURN" for cidr in non_masquerade),
        f"-A IP-MASQ-AGENT {_comment(last)} -j MASQUERADE",
        "COMMIT",
        "",
    ]
    return "\n".join(lines)


def _comment(text: str) -> str:
    return f'-m comment --comment "ip-masq-agent: {text}"'
