"""Felix's rules are made of forms that are read once: they equal what the text of an iptables-restore gives, and cost no reading of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.kernel.netfilter import jumps, save
from emu.kernel.netfilter.ruleset import BUILT_IN, LateChain, Rule, RuleSet
from emu.kube.networks.calico import chains
from emu.kube.networks.calico.chains import Tables, comment, hashes, merged
from emu.kube.networks.calico.marks import put
from emu.kube.networks.calico.pool import IPIP, NONE, VXLAN
from emu.kube.networks.calico.rules import Workload, compiled
from emu.kube.policy import tables as policy_tables

NOTHING = RuleSet({})
PROFILES = ("kns.default", "ksa.default.default")
PORTS = "-m multiport --destination-ports 80,443,8000:8080"
POLICY = {
    "cali-pi-knp/default/web": (
        f"{comment('KubernetesNetworkPolicy default/web ingress')} -p 6 -m set --match-set cali40s:abc src {PORTS} {put(0x10000)}",
        f"-p 1 -m icmp --icmp-type 8 --source 10.0.0.0/8 {put(0x10000)}",
        "-m mark --mark 0x10000/0x10000 --jump RETURN",
    )
}
CALLS = ("-m mark --mark 0/0x20000 --jump cali-pi-knp/default/web",)


def text(wanted: Tables) -> Iterator[str]:
    """What felix would give to iptables-restore on a node without rules."""
    for table, own in wanted.chains.items():
        yield f"*{table}"
        yield from (f":{name} - [0:0]" for name in own)
        for name in BUILT_IN[table]:
            yield from appended(name, wanted.first.get(table, {}).get(name, ()))
            yield from appended(name, wanted.last.get(table, {}).get(name, ()), f"{name}*appends*")
        for name, lines in own.items():
            yield from appended(name, lines)
        yield "COMMIT\n"


def appended(name: str, lines: Sequence[str], hashed: str = "") -> Iterator[str]:
    for line, value in zip(lines, hashes(name, lines, hashed), strict=True):
        yield f"-A {name} {comment(f'cali:{value}')} {line}"


def parts(rule: Rule) -> tuple[object, ...]:
    return rule.table, rule.chain, rule.number, rule.matches, type(rule.target), rule.jump, rule.comment, str(rule)


def same_as_read(wanted: Tables) -> None:
    made, read = merged(NOTHING, wanted), save.parse_restore("\n".join(text(wanted)))
    assert save.save(made) == save.save(read)
    assert made.tables.keys() == read.tables.keys()
    for table, own in made.tables.items():
        assert own.keys() == read.tables[table].keys()
        for name, chain in own.items():
            assert [*map(parts, chain.rules)] == [*map(parts, read.tables[table][name].rules)]


def pods(number: int) -> list[Workload]:
    return [Workload(f"cali{each:011x}", PROFILES) for each in range(number)]


@pytest.mark.parametrize("tunnel", [VXLAN, IPIP, NONE])
@pytest.mark.parametrize("masquerades", [True, False])
def test_all_that_a_node_has_is_as_its_text_is_read(tunnel: str, masquerades: bool) -> None:
    workloads = [*pods(3), Workload("califf000000000", ("kns.a", "ksa.a.b"), CALLS, CALLS)]
    same_as_read(compiled(workloads, tunnel, masquerades=masquerades, policies=POLICY))


@given(st.lists(st.text("0123456789abcdef", min_size=11, max_size=11), max_size=12, unique=True), st.booleans())
def test_the_rules_of_any_pods_are_as_their_text_is_read(names: list[str], policed: bool) -> None:
    calls = CALLS if policed else ()
    workloads = [Workload(f"cali{name}", PROFILES, calls) for name in names]
    same_as_read(compiled(workloads, VXLAN, masquerades=True, policies=POLICY))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many rules were read out of text since the last time that it was asked."""
    calls, read = count(), policy_tables.read

    def counted(line: str, chain: str, table: str = "filter") -> list[Rule]:
        next(calls)
        return read(line, chain, table)

    monkeypatch.setattr(chains, "read", counted)
    seen = [0]

    def since() -> int:
        before, now = seen[0], next(calls)
        seen[0] = now + 1
        return now - before

    return since


def test_a_further_pod_has_no_rule_read(reads: Callable[[], int]) -> None:
    save.save(merged(NOTHING, compiled(pods(2), VXLAN, masquerades=True)))
    reads()
    wanted = compiled(pods(60), VXLAN, masquerades=True)
    assert sum(map(len, wanted.chains["filter"].values())) > 60 * 15
    save.save(merged(NOTHING, wanted))
    assert reads() == 0


def test_no_rule_of_a_pod_is_made_before_one_is_looked_at() -> None:
    own = [Workload(f"caliabc{each:08x}", PROFILES) for each in range(3)]
    made = merged(NOTHING, compiled(own, VXLAN, masquerades=True)).tables["filter"]
    jumps.check(RuleSet({"filter": made}))
    late = [made[f"cali-tw-{pod.device}"] for pod in own]
    assert all(isinstance(each, LateChain) and not each.made for each in late)
    assert late[0].forms is late[1].forms
    first, second = late[0].rules, late[1].rules
    assert [one.target for one in first] == [other.target for other in second] != []
    assert all(one is not other and one.matches is not other.matches for one, other in zip(first, second, strict=True))
    assert isinstance(late[2], LateChain) and not late[2].made


def test_a_rule_that_keeps_state_is_its_own() -> None:
    """Two limits that read alike count apart."""
    line = "-m limit --limit 1/sec --jump ACCEPT"
    one, other = (next(iter(chains.written("filter", name, (line,)))) for name in ("cali-a", "cali-b"))
    assert one.spec.partition('" ')[2] == other.spec.partition('" ')[2]
    assert one.matches[-1] is not other.matches[-1] and one.matches[-1] != other.matches[-1]


def test_chains_with_the_same_words_stay_and_nodes_share_them() -> None:
    before = compiled(pods(3), VXLAN, masquerades=True)
    after = compiled(pods(2), VXLAN, masquerades=True, before=before)
    name = f"cali-fw-{pods(1)[0].device}"
    assert after.made["filter"][name] is before.made["filter"][name]
    assert after != before and after == compiled(pods(2), VXLAN, masquerades=True)
    other = compiled((), VXLAN, masquerades=True)
    assert all(other.made["mangle"][name] is chain for name, chain in before.made["mangle"].items())


def test_rules_that_a_packet_met_stay_the_same_objects() -> None:
    """Also where the chain has other ones behind them."""
    wanted = compiled(pods(1), VXLAN, masquerades=True)
    once = merged(NOTHING, wanted)
    name = f"cali-tw-{pods(1)[0].device}"
    met = once.tables["filter"][name].rules
    calls = [Workload(pods(1)[0].device, PROFILES, CALLS)]
    policed = compiled(calls, VXLAN, masquerades=True, policies=POLICY, before=wanted)
    changed = merged(once, policed).tables["filter"][name].rules
    assert len(changed) == len(met) + 1
    assert [*map(id, changed[:3])] == [*map(id, met[:3])] and changed[3] is not met[3]
