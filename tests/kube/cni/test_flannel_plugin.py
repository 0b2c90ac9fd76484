"""The CNI plugin flannel: what it hands on, its errors in the real one's words, and DEL by what was kept."""

from __future__ import annotations

from typing import Any

import pytest

from emu.clock import Clock
from emu.kernel import boot
from emu.kube.cni import invoke
from emu.kube.cni.plugins.flannel import FlannelConf, SubnetEnv, delegate_of
from emu.kube.cni.spec import Attachment, CniError, Host
from emu.wire.addr import Prefix

FILE = "/run/flannel/subnet.env"
TEXT = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
ENV = SubnetEnv(Prefix.parse("10.244.0.0/16"), Prefix.parse("10.244.1.0/24"), 1450, True)
IPAM = {"type": "host-local", "ranges": [[{"subnet": "10.244.1.0/24"}]], "routes": [{"dst": "10.244.0.0/16"}]}


def attachment(text: str | None = TEXT, number: int = 1, host: Host | None = None) -> Attachment:
    clock = Clock()
    if host is None:
        host = Host(boot.namespace(clock, "node"))
        if text is not None:
            host.disk["file", FILE] = text
    return Attachment(f"c{number}", boot.namespace(host.netns.clock, f"pod-{number}"), "eth0", host)


def config(**keys: Any) -> dict[str, Any]:
    return {"cniVersion": "0.3.1", "name": "cbr0", "type": "flannel", **keys}


def test_what_is_handed_on() -> None:
    """As the plugin's README has it for the bridge."""
    conf = FlannelConf("cbr0", "0.3.1", delegate={"hairpinMode": True, "isDefaultGateway": True})
    assert delegate_of(conf, ENV) == {
        "name": "cbr0",
        "cniVersion": "0.3.1",
        "type": "bridge",
        "mtu": 1450,
        "ipMasq": False,
        "isGateway": True,
        "hairpinMode": True,
        "isDefaultGateway": True,
        "ipam": IPAM,
    }
    own = {"type": "ptp", "mtu": 1400, "ipMasq": True}
    ipam = {"type": "static", "ranges": "lost", "routes": [{"dst": "10.9.0.0/16"}]}
    made = delegate_of(
        FlannelConf("n", delegate=own, ipam=ipam, runtime_config={"mac": "x"}), ENV._replace(masquerades=False)
    )
    assert made == {
        **own,
        "name": "n",
        "runtimeConfig": {"mac": "x"},
        "ipam": {**IPAM, "type": "static", "routes": [{"dst": "10.9.0.0/16"}, {"dst": "10.244.0.0/16"}]},
    }
    assert delegate_of(FlannelConf("n"), ENV._replace(masquerades=False))["ipMasq"] is True


def test_add_and_delete() -> None:
    one = attachment()
    result = invoke.add("flannel", config(delegate={"isDefaultGateway": True}), one)
    assert result.ips[0].address == "10.244.1.2/24"
    assert result.interfaces[0].name == "cni0"
    assert one.netns is not None and one.netns.device("eth0").mtu == 1450
    two = attachment(number=2, host=one.host)
    del one.host.disk["file", FILE]
    invoke.delete("flannel", config(), one)
    invoke.delete("flannel", config(), one)
    assert "eth0" not in one.netns.devices
    one.host.disk["file", FILE] = TEXT
    assert invoke.add("flannel", config(), two).ips[0].address == "10.244.1.3/24"
    invoke.delete("flannel", config(), two)
    assert set(one.host.netns.devices) == {"lo", "cni0"}
    assert [key for key in one.host.disk if key[0] == "flannel"] == []


LOAD = "failed to load flannel 'subnet.env' file: "
LOG = ". Check the flannel pod log for this node."


@pytest.mark.parametrize(
    ("text", "keys", "message"),
    [
        (None, {}, f"{LOAD}open {FILE}: no such file or directory{LOG}"),
        (TEXT, {"subnetFile": "/x"}, f"{LOAD}open /x: no such file or directory{LOG}"),
        ("FLANNEL_MTU=1450\n", {}, f"{LOAD}{FILE} is missing FLANNEL_NETWORK, FLANNEL_IPV6_NETWORK, FLANNEL_SUBNET, FLANNEL_IPV6_SUBNET, FLANNEL_IPMASQ{LOG}"),
        (TEXT.replace("10.244.1.1/24", "10.244.1.1"), {}, f"{LOAD}invalid CIDR address: 10.244.1.1{LOG}"),
        (TEXT.replace("1450", "x"), {}, f'{LOAD}strconv.ParseUint: parsing "x": invalid syntax{LOG}'),
        (TEXT.replace("10.244.1.1/24", "x/24"), {}, f"{LOAD}invalid CIDR address: x/24{LOG}"),
        (TEXT, {"delegate": {"name": "n"}}, "'delegate' dictionary must not have 'name' field, it'll be set by flannel"),
        (TEXT, {"delegate": {"ipam": {}}}, "'delegate' dictionary must not have 'ipam' field, it'll be set by flannel"),
        (TEXT, {"delegate": {"type": 7}}, "'delegate' dictionary, if present, must have (string) 'type' field"),
        (TEXT, {"delegate": {"hairpinMode": True, "promiscMode": True}}, "failed to delegate add: cannot set hairpin mode and promiscuous mode at the same time"),
    ],
)  # fmt: skip
def test_errors(text: str | None, keys: dict[str, Any], message: str) -> None:
    one = attachment(text)
    with pytest.raises(CniError) as wrong:
        invoke.add("flannel", config(**keys), one)
    assert (wrong.value.code, wrong.value.msg) == (999, message)
    invoke.delete("flannel", config(**keys), one)


def test_delete_without_an_add_is_no_error() -> None:
    one = attachment(None)
    invoke.delete("flannel", config(), one)
    with pytest.raises(CniError, match="config version does not allow CHECK"):
        invoke.check("flannel", config(), one)
