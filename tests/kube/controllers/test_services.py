"""Service addresses: inside the subnet, none given twice, the same in each run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.errors import InputError
from emu.kube.api.core import Service
from emu.kube.api.loader import load_text
from emu.kube.controllers.services import FIRST_NODE_PORT, LAST_NODE_PORT, reconcile
from emu.kube.store import Store
from emu.wire.addr import Prefix, ip4

SUBNET = Prefix.parse("10.96.0.0/12")


def allocate(*specs: str, seed: int = 0, subnet: Prefix = SUBNET, store: Store | None = None) -> list[Service]:
    store = Store() if store is None else store
    for i, spec in enumerate(specs):
        text = f"{{apiVersion: v1, kind: Service, metadata: {{name: s{i}}}, spec: {{{spec}}}}}"
        for obj in load_text(text).objects:
            store.apply(obj)
    reconcile(store, seed, subnet, [each.key for each in store.list(Service)])
    return store.list(Service)


P = "ports: [{port: 80}]"


def test_cluster_ips() -> None:
    plain, explicit, plural, headless, external = allocate(
        P, P + ", clusterIP: 10.96.0.10", P + ", clusterIPs: [10.96.0.11]", P + ", clusterIP: None", "type: ExternalName, externalName: x"
    )  # fmt: skip
    assert ip4(plain.spec.cluster_ip) in SUBNET
    assert plain.spec.cluster_ips == (plain.spec.cluster_ip,)
    assert (explicit.spec.cluster_ip, explicit.spec.cluster_ips) == ("10.96.0.10", ("10.96.0.10",))
    assert plural.spec.cluster_ip == "10.96.0.11"
    assert (headless.spec.cluster_ip, headless.spec.cluster_ips) == ("None", ("None",))
    assert (external.spec.cluster_ip, external.spec.cluster_ips) == ("", ())


def test_an_address_depends_on_the_name_and_the_seed_only() -> None:
    alone, among, reseeded = allocate(P), allocate(P, P, P), allocate(P, seed=1)
    assert alone[0].spec.cluster_ip == among[0].spec.cluster_ip != reseeded[0].spec.cluster_ip


def test_addresses_stay_when_applied_again() -> None:
    store = Store()
    [before] = allocate(P + ", type: NodePort", store=store)
    [after] = allocate("ports: [{port: 80}], type: NodePort, selector: {app: web}", store=store)
    assert after.spec.cluster_ip == before.spec.cluster_ip
    assert after.spec.ports == before.spec.ports
    assert after.spec.selector == {"app": "web"}


def test_node_ports() -> None:
    [service] = allocate("type: LoadBalancer, externalTrafficPolicy: Local, ports: [{name: a, port: 53}, {name: b, port: 53, protocol: UDP}, {name: c, port: 80}]")  # fmt: skip
    a, b, c = (p.node_port for p in service.spec.ports)
    assert a == b != c
    assert all(FIRST_NODE_PORT + 86 <= p <= LAST_NODE_PORT for p in (a, c, service.spec.health_check_node_port))
    assert service.spec.health_check_node_port not in (a, c)
    [none] = allocate("type: LoadBalancer, allocateLoadBalancerNodePorts: false, " + P)
    assert none.spec.ports[0].node_port == 0
    [plain] = allocate(P)
    assert plain.spec.ports[0].node_port == 0


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ([P + ", clusterIP: 10.0.0.1"], "service/s0 spec.clusterIP: 10.0.0.1 is not in the service subnet (expected an address of 10.96.0.0/12)"),
        ([P + ", clusterIP: 10.96.0.0"], "service/s0 spec.clusterIP: 10.96.0.0 is not in the service subnet (expected an address of 10.96.0.0/12)"),
        ([P + ", clusterIP: 'fd00::1'"], "service/s0 spec.clusterIP: 'fd00::1' is not an IPv4 address (expected four decimal octets)"),
        ([P + ", clusterIP: 10.96.0.9"] * 2, "service/s1 spec.clusterIP: 10.96.0.9 is already the address of service/s0"),
        (["type: NodePort, ports: [{port: 80, nodePort: 80}]"], "service/s0 spec.ports[0].nodePort: 80 is not in the range of node ports (expected 30000 to 32767)"),
        (["type: NodePort, ports: [{port: 80, nodePort: 30000}]"] * 2, "service/s1 spec.ports[0].nodePort: 30000 is already a node port of service/s0"),
    ],
)  # fmt: skip
def test_mistakes(specs: list[str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        allocate(*specs)
    assert str(caught.value) == message


def test_a_full_subnet() -> None:
    small = Prefix.parse("10.96.0.0/29")
    assert len({s.spec.cluster_ip for s in allocate(*[P] * 6, subnet=small)}) == 6
    with pytest.raises(InputError, match=r"^service/s6 spec.clusterIP: the service subnet 10.96.0.0/29 is full$"):
        allocate(*[P] * 7, subnet=small)


@given(st.integers(20, 30), st.data())
def test_addresses_are_in_the_subnet_and_differ(length: int, data: st.DataObject) -> None:
    subnet = Prefix.parse(f"172.16.0.0/{length}")
    room = subnet.broadcast - subnet.net - 1
    services = allocate(
        *[P] * data.draw(st.integers(1, min(room, 40))), seed=data.draw(st.integers(0, 9)), subnet=subnet
    )
    addresses = [ip4(s.spec.cluster_ip) for s in services]
    assert len(set(addresses)) == len(addresses)
    assert all(subnet.net < a < subnet.broadcast for a in addresses)
