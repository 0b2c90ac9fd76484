"""`aws-cni`: a routed veth pair with an address of the VPC (amazon-vpc-cni-k8s, cmd/routed-eni-cni-plugin).

The address, and the table that its packets are routed by, come from ipamd, the machine's own daemon. The container has its
address as a /32, a gateway whose address no host has, and a permanent neighbour for it: the host's end. The host has a route
to the address, a rule that such packets take it, and where the address is of a secondary interface a rule that packets from
it leave by that interface. Where the network policy agent runs, the ADD puts its programs at the veth. Security groups of single pods (branch interfaces) are not modelled. Must not know pods or EC2.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import NamedTuple, Protocol

import msgspec

from emu.errors import InputError
from emu.kernel import boot, commands
from emu.kernel.link.device import Device
from emu.kernel.link.veth import Veth
from emu.kernel.net.netns import Netns
from emu.kube.cni import links
from emu.kube.cni.keys import Keys
from emu.kube.cni.leaves import Leaves, device
from emu.kube.cni.spec import IP, Attachment, Config, Interface, NoAddressLeft, Result, failure, plugins, read
from emu.modelled import NotModelled, WithoutEffect, used
from emu.wire.addr import decimal, ip4, ip4_text

IPAMD = "127.0.0.1:50051"
POLICY_AGENT = "127.0.0.1:50052"
GATEWAY = "169.254.1.1"
TO_POD, FROM_POD = 512, 1536  # the priorities of the rules
MAIN = 254
DEFAULT_MTU, LEAST_MTU = 9001, 576
_DOWN = (
    "add cmd: Error received from AddNetwork gRPC call: rpc error: code = Unavailable desc = connection error: "
    f'desc = "transport: Error while dialing: dial tcp {IPAMD}: connect: connection refused"'
)
_READERS = used("kube/cni/plugins/aws_cni")
_ARGS = ("K8S_POD_NAME", "K8S_POD_NAMESPACE", "K8S_POD_INFRA_CONTAINER_ID")


class Assigned(NamedTuple):
    """What ipamd gives a container: an address of the interface with this device number (0: the primary one)."""

    addr: int
    device_number: int

    @property
    def table(self) -> int:
        """The routing table of the interface: the primary one has none of its own."""
        return self.device_number + 1 if self.device_number else MAIN


class Addresses(Protocol):
    """The part of ipamd that a plugin calls. Both may be called again."""

    def add_network(self, container_id: str, ifname: str, wanted: int = 0) -> Assigned | None: ...

    def del_network(self, container_id: str, ifname: str) -> Assigned | None: ...


class PolicyAgent(Protocol):
    """The part of the network policy agent that a plugin calls, where that runs."""

    def enforce(self, namespace: str, pod: str, device: Device) -> None: ...

    def delete(self, namespace: str, pod: str) -> None: ...


class AwsConf(msgspec.Struct, rename="camel"):
    """The plugin's keys, under their own names. `mtu` is text; one out of range is the default."""

    veth_prefix: str = "eni"
    mtu: str = str(DEFAULT_MTU)

    @property
    def pod_mtu(self) -> int:
        found = decimal(self.mtu)
        return found if found is not None and LEAST_MTU <= found <= DEFAULT_MTU else DEFAULT_MTU


@plugins.add("aws-cni")
class AwsCniPlugin:
    """A pod's interface in a VPC. There is no CHECK: the real plugin has none."""

    keys: Keys = {
        **dict.fromkeys((field.encode_name for field in msgspec.structs.fields(AwsConf)), _READERS),
        "pluginLogFile": WithoutEffect("it is a log"),
        "pluginLogLevel": WithoutEffect("it is a log"),
        "podSGEnforcingMode": NotModelled("security groups of single pods", defaults=("strict", "standard")),
    }

    def leaves(self, config: Config) -> Leaves:
        return device(r"eth[1-9]\d*", "ipamd keeps the interfaces that it attached, for the pods to come")

    def add(self, config: Config, attachment: Attachment) -> Result:
        conf, host = _load(config), attachment.host.netns
        args = _args(attachment)
        ipamd: Addresses | None = host.programs.get(IPAMD)
        if ipamd is None:
            raise failure(_DOWN)
        found = ipamd.add_network(attachment.container_id, attachment.ifname, _wanted(attachment))
        if found is None:
            raise NoAddressLeft(999, "add cmd: failed to assign an IP address to container")
        name = veth_name(conf.veth_prefix, *args)
        try:
            netns = links.open_netns(attachment)
            inside, outside = _pair(host, netns, attachment.ifname, name, conf.pod_mtu)
            _container_side(netns, inside, outside, found.addr)
            _host_side(host, outside, found)
            agent: PolicyAgent | None = host.programs.get(POLICY_AGENT)
            if agent is not None:
                agent.enforce(*args, outside)
        except InputError as error:
            ipamd.del_network(attachment.container_id, attachment.ifname)
            raise failure(f"add command: failed to setup network: {error}") from None
        # the dummy interface is not there: it keeps the device number for the DEL
        dummy = Interface(veth_name("dummy", *args), "0", sandbox=str(found.device_number), socket_path="1")
        pair = (
            Interface(name),
            Interface(attachment.ifname, sandbox=attachment.sandbox, pci_id=str(found.device_number + 1)),
            dummy,
        )
        return Result(interfaces=pair, ips=(IP(f"{ip4_text(found.addr)}/32", interface=1),))

    def check(self, config: Config, attachment: Attachment) -> None:
        _load(config)

    def delete(self, config: Config, attachment: Attachment) -> None:
        """The rules and the route go. The pair goes with the container's namespace, which is the runtime's to delete."""
        _load(config)
        args = _args(attachment)
        host = attachment.host.netns
        agent: PolicyAgent | None = host.programs.get(POLICY_AGENT)
        if agent is not None:
            agent.delete(*args)
        ipamd: Addresses | None = host.programs.get(IPAMD)
        found = None if ipamd is None else ipamd.del_network(attachment.container_id, attachment.ifname)
        if found is None:
            found = _previous(config, attachment)
        if found is None:
            return
        with suppress(InputError):
            commands.rule_del(host, _to_pod(found))
        if found.table != MAIN:
            with suppress(InputError):
                commands.rule_del(host, _from_pod(found))
        with suppress(InputError):
            commands.route_del(host, f"{ip4_text(found.addr)} scope link")


def veth_name(prefix: str, namespace: str, pod: str) -> str:
    """GeneratePodHostVethName: the prefix and 11 hex digits of the SHA-1 of `namespace.pod`."""
    digest = hashlib.sha1(f"{namespace}.{pod}".encode(), usedforsecurity=False).hexdigest()
    return f"{prefix}{digest[:11]}"


def _load(config: Config) -> AwsConf:
    conf: AwsConf = read(config, AwsConf, "add cmd: error loading config from args: ")
    if len(conf.veth_prefix) > 4:
        raise failure("add cmd: error loading config from args: conf.VethPrefix can be at most 4 characters long")
    return conf


def _args(attachment: Attachment) -> tuple[str, str]:
    found = attachment.known_args(*_ARGS)
    return found.get("K8S_POD_NAMESPACE", ""), found.get("K8S_POD_NAME", "")


def _wanted(attachment: Attachment) -> int:
    """The address of a container that ran before its ipamd did, which the real one reads in its checkpoint; 0 for none."""
    text = attachment.known_args("IP").get("IP", "")
    return ip4(text.partition("/")[0]) if text else 0


def _pair(host: Netns, netns: Netns, inside: str, outside: str, mtu: int) -> tuple[Veth, Veth]:
    """A pair with the name of an earlier one of that pod takes its place."""
    if outside in host.devices:
        link = host.device(outside)
        far = link.peer if isinstance(link, Veth) else None
        for each in (link, far):
            if each is not None and each.net is not None:
                each.net.set_link(each.name, up=False)
                each.net.detach(each)
    near_mac, far_mac = (links.random_mac(netns.clock, f"mac/{each.name}") for each in (netns, host))
    return boot.veth(netns, inside, host, outside, near_mac, far_mac, mtu)


def _container_side(netns: Netns, inside: Veth, outside: Veth, addr: int) -> None:
    boot.route(netns, f"{GATEWAY} dev {inside.name} scope link")
    boot.route(netns, f"default via {GATEWAY} dev {inside.name}")
    boot.address(netns, inside, f"{ip4_text(addr)}/32")
    boot.neigh(netns, inside.name, ip4(GATEWAY), outside.mac)


def _host_side(host: Netns, outside: Veth, found: Assigned) -> None:
    """The rules may be there already, from a container that had the address before."""
    text = ip4_text(found.addr)
    commands.route_replace(host, f"{text} dev {outside.name} scope link")
    with suppress(InputError):
        boot.rule(host, _to_pod(found))
    if found.table != MAIN:
        with suppress(InputError):
            boot.rule(host, _from_pod(found))


def _to_pod(found: Assigned) -> str:
    return f"to {ip4_text(found.addr)} lookup main priority {TO_POD}"


def _from_pod(found: Assigned) -> str:
    return f"from {ip4_text(found.addr)} lookup {found.table} priority {FROM_POD}"


def _previous(config: Config, attachment: Attachment) -> Assigned | None:
    """What the ADD had, by its result: where ipamd does not answer, or does not know the container."""
    if not config.get("prevResult"):
        return None
    result = Result.from_json(config["prevResult"])
    namespace, pod = _args(attachment)
    dummy = next((each for each in result.interfaces if each.name == veth_name("dummy", namespace, pod)), None)
    number = decimal(dummy.sandbox) if dummy is not None else None
    if number is None or not result.ips:
        return None
    return Assigned(result.ips[0].addr, number)
