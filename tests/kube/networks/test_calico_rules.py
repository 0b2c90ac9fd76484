"""Felix's chains: what a real felix wrote on a real node, hashes and all, and what becomes of other programs' rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from emu.kernel.netfilter.ruleset import RuleSet
from emu.kernel.netfilter.save import parse_restore, save
from emu.kube.networks.calico.chains import Tables, hashes, in_place, limited, merged
from emu.kube.networks.calico.pool import IPIP, NONE, VXLAN
from emu.kube.networks.calico.rules import Workload, compiled

DUMP = Path(__file__).parents[2] / "data" / "iptables-dumps" / "calico-felix.rules"
NOTHING = RuleSet({})
SYSTEM = "kns.kube-system"
# Rules as public texts show them of real nodes (AKS with Calico, 2023): device, service account, and the hashes of some rules
REAL = Workload("cali112d888c0c2", (SYSTEM, "ksa.kube-system.metrics-server"))
OTHERS = tuple(
    Workload(name, (SYSTEM,)) for name in ("cali26cecacb712", "cali55f439ddb0e", "cali9d7310e16e7", "calic5a1f1aa0ed", "calif6abb148530")
)  # fmt: skip
SEEN = """\
-A cali-from-wl-dispatch -i cali112d888c0c2 -m comment --comment "cali:887K6j2m0yTxV8XZ" -g cali-fw-cali112d888c0c2
-A cali-from-wl-dispatch -i calif6abb148530 -m comment --comment "cali:xDvXvF5yVFq7Y1QJ" -g cali-fw-calif6abb148530
-A cali-from-wl-dispatch -m comment --comment "cali:FUqQW1upEuPXcL7s" -m comment --comment "Unknown interface" -j DROP
-A cali-to-wl-dispatch -o cali9d7310e16e7 -m comment --comment "cali:D9Su0ifqHghdWNA-" -g cali-tw-cali9d7310e16e7
-A cali-to-wl-dispatch -m comment --comment "cali:XGNeZ7jL7MJ6PeId" -m comment --comment "Unknown interface" -j DROP
-A cali-fw-cali112d888c0c2 -m comment --comment "cali:gxYrST51OJyfBgWw" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-fw-cali112d888c0c2 -m comment --comment "cali:6xENQhO2T0QW5LgN" -m conntrack --ctstate INVALID -j DROP
-A cali-tw-cali112d888c0c2 -m comment --comment "cali:YxaG793HT-1CxTcX" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-pri-kns.kube-system -m comment --comment "cali:J1TyxtHWd0qaBGK-" -m comment --comment "Profile kns.kube-system ingress" -j MARK --set-xmark 0x10000/0x10000
-A cali-pro-kns.kube-system -m comment --comment "cali:tgOR2S8DVHZW3F1M" -m comment --comment "Profile kns.kube-system egress" -j MARK --set-xmark 0x10000/0x10000
-A cali-pri-_CVSZITRyIpEmH8AB6H -m comment --comment "cali:Jm7TmoNoWplOEka1" -m comment --comment "Profile ksa.kube-system.metrics-server ingress"
-A cali-pro-_CVSZITRyIpEmH8AB6H -m comment --comment "cali:jzJff9OzGIv_OyaY" -m comment --comment "Profile ksa.kube-system.metrics-server egress"
"""


def lines(wanted: Tables, current: RuleSet = NOTHING) -> list[str]:
    return save(merged(current, wanted)).splitlines()


def test_a_node_without_pods_has_what_felix_wrote_on_one() -> None:
    """Line by line and hash by hash. The dump lacks the rules that name sets; the hashes behind them show that felix had them."""
    felix = save(parse_restore(DUMP.read_text(encoding="utf-8"))).splitlines()
    ours = lines(compiled((), VXLAN, masquerades=True))
    assert [line for line in ours if "--match-set" not in line] == felix
    assert sum("--match-set" in line for line in ours) == 3


@pytest.mark.parametrize("line", SEEN.splitlines())
def test_rules_of_pods_are_those_of_a_real_node(line: str) -> None:
    assert line in lines(compiled((REAL, *OTHERS), NONE, masquerades=False))


def test_a_hash_is_of_the_rules_before_it_too() -> None:
    one, two = hashes("cali-x", ["--jump ACCEPT", "--jump DROP"])
    assert list(hashes("cali-x", ["--jump DROP"])) != [two] and list(hashes("cali-x", ["--jump ACCEPT"])) == [one]
    assert list(hashes("cali-y", ["--jump ACCEPT"])) != [one]


def test_a_long_name_gives_way_to_a_hash() -> None:
    assert limited("cali-pri-", "kns.default") == "cali-pri-kns.default"
    assert limited("cali-pri-", "ksa.kube-system.coredns") == "cali-pri-_u2Tn2rSoAPffvE7JO6"


def test_devices_that_begin_alike_share_a_chain() -> None:
    names = ("calia0000000001", "calia0000000002", "calib0000000003")
    found = lines(compiled([Workload(each, (SYSTEM,)) for each in names], NONE, masquerades=False))
    ways = [
        (line.split()[1], line.split()[3], line.split()[-1])
        for line in found
        if " -i calia" in line or " -i calib" in line
    ]
    assert ways == [
        ("cali-from-wl-dispatch", "calia+", "cali-from-wl-dispatch-a"),
        ("cali-from-wl-dispatch", "calib0000000003", "cali-fw-calib0000000003"),
        ("cali-from-wl-dispatch-a", "calia0000000001", "cali-fw-calia0000000001"),
        ("cali-from-wl-dispatch-a", "calia0000000002", "cali-fw-calia0000000002"),
    ]
    assert sum("Unknown interface" in line for line in found) == 4  # at the end of each of the four chains


def test_ipip_has_rules_of_its_own() -> None:
    """The first hash is the one that many public texts show."""
    found = [line for line in lines(compiled((), IPIP, masquerades=True)) if "IPIP" in line or "tunl0" in line]
    assert found[0] == (
        '-A cali-INPUT -p ipencap -m comment --comment "cali:PajejrV4aFdkZojI" -m comment --comment "Allow IPIP packets from Calico '
        'hosts" -m set --match-set cali40all-hosts-net src -m addrtype --dst-type LOCAL -j ACCEPT'
    )
    assert [line.split()[1] for line in found] == ["cali-INPUT", "cali-INPUT", "cali-OUTPUT", "cali-POSTROUTING"]


OTHER = """*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:MINE - [0:0]
:cali-old - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m comment --comment "cali:aaaaaaaaaaaaaaaa" -j cali-old
-A FORWARD -j MINE
-A MINE -j RETURN
COMMIT
"""


def test_rules_of_others_stay_between_felixs_own() -> None:
    """ChainInsertMode Insert: felix comes first, what it appends last; a policy is not its business; old chains of it go."""
    found = lines(compiled((), NONE, masquerades=False), parse_restore(OTHER))
    assert ":INPUT DROP [0:0]" in found and ":MINE - [0:0]" in found and not any("cali-old" in line for line in found)
    forward = [line.split()[-1] for line in found if line.startswith("-A FORWARD ")]
    assert forward == ["cali-FORWARD", "MINE", "ACCEPT", "0x10000/0x10000"]
    assert [line.split()[-1] for line in found if line.startswith("-A INPUT ")] == ["cali-INPUT", "ACCEPT"]


def test_what_is_in_place_stays_the_same_object() -> None:
    wanted = compiled((REAL,), VXLAN, masquerades=True)
    once = merged(parse_restore(OTHER), wanted)
    assert in_place(once, wanted) and not in_place(NOTHING, wanted)
    more = merged(once, compiled((REAL, *OTHERS), VXLAN, masquerades=True))
    assert more.tables["filter"]["cali-tw-cali112d888c0c2"] is once.tables["filter"]["cali-tw-cali112d888c0c2"]
    assert more.tables["filter"]["cali-from-wl-dispatch"] is not once.tables["filter"]["cali-from-wl-dispatch"]
    assert not in_place(more, wanted) and in_place(merged(more, wanted), wanted)
