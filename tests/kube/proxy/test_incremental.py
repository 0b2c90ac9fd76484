"""A snapshot and rules made after earlier ones are those made from scratch, and what did not change is not made anew."""

from __future__ import annotations

import gc
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from emu.kernel.netfilter.save import parse_restore, save
from emu.kube.agents import Followed
from emu.kube.api.core import Service
from emu.kube.api.discovery import EndpointSlice
from emu.kube.api.loader import convert
from emu.kube.api.meta import Key, Object, replace
from emu.kube.proxy.config import ProxyConfig
from emu.kube.proxy.iptables import restore
from emu.kube.proxy.iptables.compile import Compiler, ProxyRules
from emu.kube.proxy.iptables.restore import Restored
from emu.kube.proxy.services import Snapshot
from emu.kube.store import Store

CONFIGS = [ProxyConfig(node_name=name, node_ip=f"192.0.2.{n}", cluster_cidr="10.244.0.0/16", zone=zone)
           for n, (name, zone) in enumerate((("n1", "a"), ("n2", "b"), ("n3", "")), 1)]  # fmt: skip


def service(number: int, spec: dict[str, Any]) -> Service:
    base = {"clusterIP": f"10.96.0.{number + 1}", "ports": [{"name": "web", "port": 80}]}
    (made,) = convert({"apiVersion": "v1", "kind": "Service", "metadata": {"name": f"s{number}"}, "spec": base | spec})
    assert isinstance(made, Service)
    return made


def endpoint_slice(number: int, part: int, endpoints: list[dict[str, Any]]) -> EndpointSlice:
    (made,) = convert(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": f"s{number}-{part}", "labels": {"kubernetes.io/service-name": f"s{number}"}},
            "addressType": "IPv4",
            "ports": [{"name": "web", "port": 8080}],
            "endpoints": endpoints,
        }
    )
    assert isinstance(made, EndpointSlice)
    return made


SPECS: list[dict[str, Any]] = [
    {},
    {"internalTrafficPolicy": "Local"},
    {"sessionAffinity": "ClientIP"},
    {"type": "NodePort", "ports": [{"name": "web", "port": 80, "nodePort": 30080}]},
    {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 32000,
     "ports": [{"name": "web", "port": 80, "nodePort": 30081}]},
    {"externalIPs": ["198.51.100.7"]},
]  # fmt: skip
ENDPOINTS = [
    {"addresses": [f"10.244.{n}.{m}"], "nodeName": f"n{n}", **more}
    for n in (1, 2)
    for m in (1, 2)
    for more in (
        {},
        {"conditions": {"ready": False, "serving": True, "terminating": True}},
        {"hints": {"forZones": [{"name": "a"}]}},
    )
]
SERVICES = {(number, i): service(number, spec) for number in range(3) for i, spec in enumerate(SPECS)}
moments = st.lists(
    st.tuples(
        st.dictionaries(st.integers(0, 2), st.integers(0, len(SPECS) - 1)),
        st.dictionaries(
            st.tuples(st.integers(0, 2), st.integers(0, 1)), st.lists(st.sampled_from(ENDPOINTS), max_size=3)
        ),
    ),
    min_size=2,
    max_size=5,
)


@settings(deadline=None)
@given(moments)
def test_after_an_earlier_moment_all_is_as_from_scratch(
    found: list[tuple[dict[int, int], dict[tuple[int, int], list[dict[str, Any]]]]],
) -> None:
    compiler, snapshot = Compiler(), None
    kept: dict[str, EndpointSlice] = {}
    for services, slices in found:
        wanted = [SERVICES[each] for each in services.items()]
        made = [endpoint_slice(*place, each) for place, each in slices.items()]
        made = [kept.get(str(each), each) for each in made]  # objects that did not change stay
        kept = {str(each): each for each in made}
        snapshot, fresh = Snapshot.of(wanted, made, after=snapshot), Snapshot.of(wanted, made)
        assert (snapshot.ports, snapshot.endpoints) == (fresh.ports, fresh.endpoints)
        assert (snapshot.large, snapshot.health_checks) == (fresh.large, fresh.health_checks)
        for config in CONFIGS:
            assert save(compiler.compile(snapshot, config).ruleset) == save(Compiler().compile(fresh, config).ruleset)


@settings(deadline=None)
@given(moments, st.lists(st.booleans(), min_size=5, max_size=5))
def test_following_the_last_sync_is_a_partial_restore(
    found: list[tuple[dict[int, int], dict[tuple[int, int], list[dict[str, Any]]]]], keeps: list[bool]
) -> None:
    """What costs only what differs leaves the same rules, in the same order, as a look at every chain."""
    compiler, others = Compiler(), parse_restore("*nat\n:MINE - [0:0]\n-A POSTROUTING -j MINE\nCOMMIT\n")
    last: Restored | None = None
    old: ProxyRules | None = None
    for (services, slices), keep_stale in zip(found, keeps, strict=False):
        wanted = [SERVICES[each] for each in services.items()]
        snapshot = Snapshot.of(wanted, [endpoint_slice(*place, each) for place, each in slices.items()])
        rules = compiler.compile(snapshot, CONFIGS[0])
        if last is None or old is None:
            last = restore.full(others, rules, keep_stale=keep_stale)
        else:
            scanned = restore.partial(last.ruleset, old, rules, keep_stale=keep_stale)
            last = restore.follow(last, old, rules, keep_stale=keep_stale)
            assert scanned is not None
            assert (save(last.ruleset), last.stale) == (save(scanned.ruleset), scanned.stale)
        old = rules
        assert {name for name in last.ruleset.tables["nat"] if "KUBE-SEP" in name} == {
            name for name in (*rules.ruleset.tables["nat"], *last.stale) if "KUBE-SEP" in name
        }


def test_what_did_not_change_is_taken_over() -> None:
    services = [service(0, {}), service(1, {})]
    slices = [endpoint_slice(0, 0, ENDPOINTS[:1]), endpoint_slice(1, 0, ENDPOINTS[:2])]
    before = Snapshot.of(services, slices)
    after = Snapshot.of(services, [slices[0], endpoint_slice(1, 0, ENDPOINTS[:4])], after=before)
    first, second = before.ports
    assert after.by_key is before.by_key
    assert after.of_port(first) is before.of_port(first)
    assert after.of_port(second) != before.of_port(second)
    changed = Snapshot.of([services[0], service(1, SPECS[2])], slices, after=before)
    assert changed.ports[0] is first and changed.ports[1] is not second


def test_source_ranges_part_the_nodes_inside_from_those_outside() -> None:
    """A node in a source range reaches a load balancer's address that it has itself; which node it is does not matter."""
    (made,) = convert(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "s0"},
            "spec": {
                "type": "LoadBalancer",
                "clusterIP": "10.96.0.1",
                "loadBalancerSourceRanges": ["192.0.2.0/30", "198.51.100.0/24"],
                "ports": [{"name": "web", "port": 80, "nodePort": 30080}],
            },
            "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}},
        }
    )
    assert isinstance(made, Service)
    snapshot, compiler = Snapshot.of([made], [endpoint_slice(0, 0, ENDPOINTS[:1])]), Compiler()
    rules = [compiler.compile(snapshot, ProxyConfig(node_name=f"n{n}", node_ip=f"192.0.2.{n}")) for n in range(1, 9)]
    assert [each is rules[0] for each in rules] == [True] * 3 + [False] * 5
    assert len({id(each) for each in rules}) == 2
    inside, outside = save(rules[0].ruleset), save(rules[7].ruleset)
    assert {*inside.splitlines()} - {*outside.splitlines()} and "203.0.113.1/32 -m comment" in inside


def test_configurations_of_the_past_are_forgotten() -> None:
    gc.collect()  # what other tests left
    compiler, snapshot = Compiler(), None
    for number in range(20):
        snapshot = Snapshot.of([service(number % 3, SPECS[1])], [], after=snapshot)
        for name in ("n1", "n2"):
            compiler.compile(
                snapshot, ProxyConfig(node_name=name, zone=f"z{number}", cluster_cidr=f"10.{number}.0.0/16")
            )
    kept = [each for each in gc.get_objects() if isinstance(each, ProxyConfig) and each.zone.startswith("z")]
    assert 2 <= len(kept) <= 4


@settings(deadline=None)
@given(moments)
def test_changes_that_follow_each_other_give_what_is_there_at_the_end(
    found: list[tuple[dict[int, int], dict[tuple[int, int], list[dict[str, Any]]]]],
) -> None:
    """What an agent follows in a store, over several changes of one object, is what a list of all gives."""
    store, of_services, of_slices = Store(), Followed[Service](), Followed[EndpointSlice]()
    store.watch(Service, of_services.changed)
    store.watch(EndpointSlice, of_slices.changed)
    snapshot = Snapshot.of([], [])
    for number, (services, slices) in enumerate(found):
        wanted: dict[Key, Object] = {made.key: made for made in (SERVICES[each] for each in services.items())}
        wanted |= {made.key: made for made in (endpoint_slice(*place, each) for place, each in slices.items())}
        for obj in [*store]:
            if obj.key not in wanted or number % 2:  # every second time all come again
                store.delete(obj.key)
        for obj in wanted.values():
            store.put(obj)
        if number % 3 == 1:
            continue  # seen with the next ones
        snapshot = snapshot.followed(of_services.take(), of_slices.take())
        fresh = Snapshot.of(store.list(Service), store.list(EndpointSlice))
        assert (snapshot.ports, snapshot.endpoints) == (fresh.ports, fresh.endpoints)
        assert [*snapshot.read.slices.values()] == store.list(EndpointSlice)
        assert snapshot.read.parts == fresh.read.parts
        assert (snapshot.count, snapshot.health_checks) == (fresh.count, fresh.health_checks)


def test_a_slice_that_turns_to_another_service_stands_where_it_stood() -> None:
    slices = [endpoint_slice(0, 0, ENDPOINTS[:1]), endpoint_slice(1, 0, ENDPOINTS[3:4]), endpoint_slice(1, 1, [])]
    labels = {"kubernetes.io/service-name": "s1"}
    turned = replace(slices[0], metadata=replace(slices[0].metadata, labels=labels))
    before = Snapshot.of([service(0, {}), service(1, {})], slices)
    after = before.followed([], [(slices[0], turned)])
    fresh = Snapshot.of([service(0, {}), service(1, {})], [turned, *slices[1:]])
    assert [each.slice for each in after.read.parts["default", "s1"]] == [turned, *slices[1:]]
    assert (after.endpoints, after.read.parts) == (fresh.endpoints, fresh.read.parts)
