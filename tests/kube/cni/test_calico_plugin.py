"""The plugin calico by itself, on a machine that belongs to no cluster: what it wires, with another IPAM, and what fails."""

from __future__ import annotations

import pytest

from emu.kube.cni.config import NetworkConfigList
from emu.kube.cni.plugins.calico import host_name
from emu.kube.cni.runtime import Runtime
from emu.kube.cni.spec import Attachment, CniError, Host
from emu.lab import Lab
from emu.wire.addr import mac_text

POD = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web"
HOST_LOCAL = {"type": "host-local", "subnet": "10.9.0.0/24"}


def network(**keys: object) -> NetworkConfigList:
    plugin = {"type": "calico", "ipam": HOST_LOCAL, **keys}
    return NetworkConfigList.from_json({"cniVersion": "1.0.0", "name": "net", "plugins": [plugin]})


@pytest.fixture
def attachment() -> Attachment:
    lab = Lab()
    return Attachment("abcdef0123456789", lab.host("pod"), "eth0", Host(lab.host("machine")), POD)


def names(attachment: Attachment) -> list[str]:
    return list(attachment.host.netns.devices)


def test_what_it_wires(attachment: Attachment) -> None:
    result = Runtime().add(network(mtu=1400), attachment)
    host, pod, name = attachment.host.netns, attachment.netns, host_name("default", "web")
    assert pod is not None and name == "cali68caf03a5f4"
    assert result.to_json("1.0.0")["ips"] == [{"address": "10.9.0.2/32", "gateway": "10.9.0.1", "interface": 1}]
    assert [each.name for each in result.interfaces] == [name, "eth0"]
    assert [route.text() for route in host.ipv4.fib.main] == [f"10.9.0.2 dev {name} scope link"]
    assert sorted(route.text() for route in pod.ipv4.fib.main) == [
        "169.254.1.1 dev eth0 scope link", "default via 169.254.1.1 dev eth0",
    ]  # fmt: skip
    assert (mac_text(host.device(name).mac), host.device(name).mtu, pod.device("eth0").mtu) == (
        "ee:ee:ee:ee:ee:ee",
        1400,
        1400,
    )
    set_ = {key: value for key, value in host.sysctl.written() if name in key}
    conf = f"net.ipv4.conf.{name}"
    assert set_ == {
        f"{conf}.route_localnet": 1, f"{conf}.proxy_arp": 1, f"{conf}.forwarding": 1, f"net.ipv4.neigh.{name}.proxy_delay": 0,
    }  # fmt: skip
    assert pod.sysctl.number("net.ipv4.ip_forward") == 0


def test_del_leaves_the_machine_as_it_was(attachment: Attachment) -> None:
    runtime, host = Runtime(), attachment.host.netns
    for _ in range(2):
        runtime.add(network(), attachment)
        runtime.delete(network(), attachment)
        runtime.delete(network(), attachment)
        assert names(attachment) == ["lo"] and not list(host.ipv4.fib.main)
        assert [key for key, _ in host.sysctl.written() if "cali" in key] == []


def test_a_device_of_the_same_pod_that_was_left_is_replaced(attachment: Attachment) -> None:
    """A pod of that name had its namespace taken away without a DEL."""
    Runtime().add(network(), attachment)
    other = Attachment("fedcba9876543210", Lab().host("pod"), "eth0", attachment.host, POD)
    assert attachment.netns is not None
    Runtime().add(network(), other)
    assert "eth0" not in attachment.netns.devices and names(attachment) == ["lo", host_name("default", "web")]


def test_a_container_without_kubernetes_has_its_own_name(attachment: Attachment) -> None:
    plain = Attachment(attachment.container_id, attachment.netns, "eth0", attachment.host)
    assert Runtime().add(network(), plain).interfaces[0].name == "caliabcdef01234"


def test_forwarding_in_the_container_can_be_asked_for(attachment: Attachment) -> None:
    Runtime().add(network(container_settings={"allow_ip_forwarding": True}), attachment)
    assert attachment.netns is not None and attachment.netns.sysctl.number("net.ipv4.ip_forward") == 1


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"ipam": {"type": "calico-ipam"}}, "no configured Calico pools"),
        ({"ipam": {}}, "no plugin name provided"),
        ({"mtu": "big"}, "failed to load netconf"),
    ],
)
def test_what_fails_leaves_nothing(attachment: Attachment, keys: dict[str, object], message: str) -> None:
    with pytest.raises(CniError, match=message):
        Runtime().add(network(**keys), attachment)
    assert names(attachment) == ["lo"]


def test_a_route_of_another_device_is_in_the_way(attachment: Attachment) -> None:
    """The address goes back; the pair stays until the DEL that follows a failed ADD."""
    host = attachment.host.netns
    Runtime().add(
        network(),
        Attachment("fedcba9876543210", Lab().host("pod"), "eth0", attachment.host, POD.replace("web", "first")),
    )
    route = next(iter(host.ipv4.fib.main))
    attachment.host.disk.clear()  # host-local has lost its files, and gives the address a second time
    with pytest.raises(CniError, match="the route already exists"):
        Runtime().add(network(), attachment)
    assert next(iter(host.ipv4.fib.main)) is route and names(attachment) == ["lo", host_name("default", "first")]
