"""Hypothesis strategies: rule sets as the text of iptables-save, which iptables-restore and emu load.

Rules are drawn from matches and targets that fit their table and chain; user chains are jumped to from base chains only, so that there is no
circle. Texts shrink towards one table without rules. Must not know who loads them.
"""

from __future__ import annotations

from hypothesis import strategies as st

BASE = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}
CIDRS = ("10.0.0.0/8", "10.0.0.2", "10.1.0.0/16", "192.0.2.0/24", "0.0.0.0/0")
PORTS = ("7", "80", "1:1023", "8080")
MATCHES = (
    "", "-p udp", "-p tcp", "-p icmp", "-p icmp --icmp-type 8", "-m comment --comment drawn", "-m mark --mark 0x4000/0x4000",
    "-m mark ! --mark 0x1", "-m conntrack --ctstate NEW", "-m conntrack --ctstate ESTABLISHED,RELATED",
    "-m conntrack --ctstate INVALID", "-m addrtype --dst-type LOCAL", "-m addrtype ! --src-type LOCAL",
    "-m statistic --mode random --probability 0.50000000000", "-m statistic --mode nth --every 2 --packet 0",
    "-m ttl --ttl-lt 3", "-m length --length 0:100", "-m limit --limit 10/sec --limit-burst 5",
    "-p tcp --tcp-flags SYN,ACK SYN", "-p udp -m multiport --dports 7,53",
)  # fmt: skip
TARGETS = {
    "raw": ("ACCEPT", "DROP", "RETURN", "CT --notrack", "NOTRACK"),
    "mangle": (
        "ACCEPT",
        "DROP",
        "RETURN",
        "MARK --set-xmark 0x1/0x1",
        "MARK --set-xmark 0x4000/0x4000",
        "TTL --ttl-set 9",
    ),
    "filter": ("ACCEPT", "DROP", "RETURN", "REJECT --reject-with icmp-port-unreachable", "MARK --set-xmark 0x2/0x2"),
    "nat": ("ACCEPT", "RETURN", "MARK --set-xmark 0x4000/0x4000"),
}
NAT_TARGETS = {
    "PREROUTING": ("DNAT --to-destination 10.1.0.2", "REDIRECT"), "OUTPUT": ("DNAT --to-destination 10.1.0.2", "REDIRECT"),
    "POSTROUTING": ("MASQUERADE", "SNAT --to-source 10.1.0.1", "MASQUERADE --random-fully"), "INPUT": ("SNAT --to-source 10.0.0.9",),
}  # fmt: skip
USER = ("ONE", "TWO")


@st.composite
def rules(draw: st.DrawFn, table: str, chain: str, jumps: tuple[str, ...] = ()) -> str:
    """One rule of a chain, as iptables-save writes it. `chain` a base chain of `table`, or a user chain; `jumps` are user chains to jump to."""
    targets = [*TARGETS[table], *jumps, *(NAT_TARGETS.get(chain, ()) if table == "nat" else ())]
    words = [f"-A {chain}"]
    for option in ("-s", "-d"):
        if draw(st.integers(0, 3)) == 3:
            words.append(f"{'! ' * draw(st.booleans())}{option} {draw(st.sampled_from(CIDRS[:-1]))}")
    match, target = draw(st.sampled_from(MATCHES)), draw(st.sampled_from(targets))
    if match == "" and draw(st.booleans()):
        protocol = draw(st.sampled_from(("udp", "tcp")))
        match = f"-p {protocol} -m {protocol} --dport {draw(st.sampled_from(PORTS))}"
    words += [each for each in (match, f"-j {target}") if each]
    return " ".join(words)


@st.composite
def rule_sets(draw: st.DrawFn, tables: tuple[str, ...] = tuple(BASE), max_rules: int = 4) -> str:
    """A whole text: some of `tables`, each with up to `max_rules` rules a chain in base chains and in two user chains."""
    lines = []
    for table in draw(st.lists(st.sampled_from(tables), min_size=1, unique=True)):
        lines.append(f"*{table}")
        policies = ("ACCEPT", "ACCEPT", "ACCEPT", "DROP") if table == "filter" else ("ACCEPT",)
        lines += [f":{chain} {draw(st.sampled_from(policies))} [0:0]" for chain in BASE[table]]
        lines += [f":{chain} - [0:0]" for chain in USER]
        for chain in BASE[table]:
            lines += draw(st.lists(rules(table, chain, USER), max_size=max_rules))
        for chain in USER:
            lines += draw(st.lists(rules(table, chain), max_size=max_rules))
        lines.append("COMMIT")
    return "\n".join([*lines, ""])
