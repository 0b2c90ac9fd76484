"""`portmap`: ports of the machine lead to ports of a container (plugins/meta/portmap, v1.9, iptables backend).

It stands behind the plugin that gives the address. What the rules are follows from the configuration alone (`rules_of`);
then come the plugin's steps in its order. It reserves no port: of two containers with one port the first one has it.
IPv6 and the nftables backend are not modelled. An ADD that fails leaves what v1.1 leaves. Must not know pods.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from emu.errors import InputError
from emu.kernel.net.netns import Netns
from emu.kube.cni.ip_masq import chain_name
from emu.kube.cni.iptables import Table, comment, shown, split_ports
from emu.kube.cni.keys import Keys
from emu.kube.cni.leaves import Leaves
from emu.kube.cni.spec import IP, Attachment, Config, Result, failure, plugins, read, unmodelled
from emu.modelled import NotModelled, WithoutEffect, used
from emu.wire.addr import ip4
from emu.wire.frame import AF_INET, UDP

DNAT, SETMARK, MASQ = "CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-SETMARK", "CNI-HOSTPORT-MASQ"
_MARK_BIT = 13  # Kubernetes has 14 and 15, Calico 20 to 31
_READERS = used("kube/cni/plugins/portmap")


class Mapping(msgspec.Struct, rename={"host_port": "hostPort", "container_port": "containerPort", "host_ip": "hostIP"}):
    """One mapped port. `protocol` as iptables names it, `host_ip` "": every address of the machine."""

    host_port: int = 0
    container_port: int = 0
    protocol: str = ""
    host_ip: str = ""


class _Runtime(msgspec.Struct, rename="camel"):
    port_mappings: list[Mapping] | None = None


class PortMapConf(msgspec.Struct, rename="camel"):
    """The plugin's keys, under their own names. `snat`: connections from the container's subnet and from loopback addresses
    are masqueraded, or with `masqAll` all of them; `markMasqBit` is the bit that marks them."""

    name: str
    backend: str | None = None
    snat: bool | None = None
    masq_all: bool = False
    mark_masq_bit: int | None = None
    external_set_mark_chain: str | None = None
    conditions_v4: list[str] | None = msgspec.field(default=None, name="conditionsV4")
    runtime_config: _Runtime = msgspec.field(default_factory=_Runtime)

    @property
    def mappings(self) -> list[Mapping]:
        return self.runtime_config.port_mappings or []

    @property
    def masquerades(self) -> bool:
        return self.snat is not False

    @property
    def mark(self) -> str:
        bit = 1 << (_MARK_BIT if self.mark_masq_bit is None else self.mark_masq_bit)
        return f"{bit:#x}/{bit:#x}"


class ContainerRules(NamedTuple):
    """A container's own chain: its rules, and those in CNI-HOSTPORT-DNAT that lead to it, each without its jump."""

    chain: str
    entries: list[list[str]]
    rules: list[list[str]]


def rules_of(conf: PortMapConf, container_id: str, ip: IP) -> ContainerRules:
    """Pure. A mapping gives up to three rules: marks for the masquerade of the container's subnet and of loopback
    addresses, then the DNAT."""
    ports: dict[str, list[int]] = {}
    for each in conf.mappings:
        ports.setdefault(each.protocol, []).append(each.host_port)
    note = comment(f'dnat name: "{conf.name}" id: "{container_id}"')
    entries = [
        [*note, "-m", "multiport", "-p", protocol, "--destination-ports", some, *(conf.conditions_v4 or ())]
        for protocol in sorted(ports)
        for some in split_ports(ports[protocol])
    ]
    rules = [rule for each in conf.mappings for rule in _rules(conf, each, ip)]
    return ContainerRules(_chain(conf, container_id), entries, rules)


def _rules(conf: PortMapConf, mapping: Mapping, ip: IP) -> Iterator[list[str]]:
    base = ["-p", mapping.protocol, "--dport", str(mapping.host_port)]
    if mapping.host_ip:
        try:
            bound = ip4(mapping.host_ip)
        except InputError:  # an IPv6 address is no business of this family's rules
            return
        base += ["-d", mapping.host_ip] if bound else []
    if conf.masquerades:
        target = ["-j", conf.external_set_mark_chain or SETMARK]
        yield [*base, "-s", "0.0.0.0/0" if conf.masq_all else ip.address, *target]
        if not conf.masq_all:
            yield [*base, "-s", "127.0.0.1", *target]
    address = ip.address.partition("/")[0]
    yield [*base, "-j", "DNAT", "--to-destination", f"{address}:{mapping.container_port}"]


def _chain(conf: PortMapConf, container_id: str) -> str:
    return chain_name(conf.name, container_id, "CNI-DN-")


@plugins.add("portmap")
class PortMapPlugin:
    """Ports of the machine, forwarded to a container's: `runtimeConfig.portMappings` has them. The previous result is
    handed on unchanged."""

    keys: Keys = {
        **dict.fromkeys((field.encode_name for field in msgspec.structs.fields(PortMapConf)), _READERS),
        "backend": NotModelled("the nftables backend", defaults=("iptables",)),
        "conditionsV6": WithoutEffect("it concerns IPv6"),
    }

    def leaves(self, config: Config) -> Leaves:
        return {
            r"iptables nat (:|-A )CNI-HOSTPORT-(DNAT|SETMARK|MASQ) .*": "the chains for all containers stay",
            r"iptables nat -A (PREROUTING|OUTPUT|POSTROUTING) .*-j CNI-HOSTPORT-(DNAT|MASQ)": "and the jumps to them",
        }

    def add(self, config: Config, attachment: Attachment) -> Result:
        conf, result, ip = _load(config, attachment, "failed to parse config: ")
        if result is None:
            raise failure("must be called as chained plugin")
        node = attachment.host.netns
        if conf.mappings and ip is not None:
            _forward(conf, attachment, ip)
            _forget_udp(node, conf.mappings)
        return result

    def check(self, config: Config, attachment: Attachment) -> None:
        conf, result, ip = _load(config, attachment)
        if result is None:
            raise failure("Required prevResult missing")
        if not conf.mappings or ip is None:
            return
        table, own = Table(attachment.host.netns, "nat"), rules_of(conf, attachment.container_id, ip)
        what = "could not check ipv4 dnat: "
        if own.chain not in table:
            raise failure(f"{what}chain {own.chain} not found in iptables table nat")
        jump = ["-j", own.chain]
        for chain, rules, end in ((own.chain, own.rules, []), (DNAT, own.entries, jump)):
            if chain not in table or not all(table.has(chain, [*rule, *end]) for rule in rules):
                raise failure(f"{what}rule {shown(rules)} in chain {chain} not found in table nat")

    def delete(self, config: Config, attachment: Attachment) -> None:
        """The container's chain goes, with the rules that lead to it. The chains of all containers stay for ever, and
        the connections too."""
        conf, _, _ = _load(config, attachment, "failed to parse config: ")
        if conf.mappings:
            table = Table(attachment.host.netns, "nat")
            table.remove(_chain(conf, attachment.container_id), [DNAT])
            try:
                table.run()
            except InputError as error:
                raise failure(f"could not teardown ipv4 dnat: {error.what}") from None


def _forward(conf: PortMapConf, attachment: Attachment, ip: IP) -> None:
    node = attachment.host.netns
    table, own = Table(node, "nat"), rules_of(conf, attachment.container_id, ip)
    if conf.masquerades and conf.external_set_mark_chain is None:
        table.ensure(SETMARK)
        table.add(SETMARK, [*comment("CNI portfwd masquerade mark"), "-j", "MARK", "--set-xmark", conf.mark])
        table.ensure(MASQ)
        table.add(MASQ, ["-m", "mark", "--mark", conf.mark, "-j", "MASQUERADE"])
        # before the masquerades of other plugins, which would end the walk
        table.add("POSTROUTING", [*comment("CNI portfwd requiring masquerade"), "-j", MASQ], first=True)
    if conf.masquerades:
        _route_localnet(node, ip)
    table.ensure(DNAT)
    for chain in ("PREROUTING", "OUTPUT"):
        table.add(chain, ["-m", "addrtype", "--dst-type", "LOCAL", "-j", DNAT])
    table.ensure(own.chain)
    try:
        for rule in own.rules:
            table.add(own.chain, rule)
        for rule in own.entries:
            table.add(DNAT, [*rule, "-j", own.chain])
        table.run()
    except InputError as error:
        raise failure(f"unable to setup DNAT: {error.what}") from None


def _route_localnet(node: Netns, ip: IP) -> None:
    """Let 127.0.0.0/8 cross the interface towards the container, if there is one."""
    route = node.ipv4.fib.lookup(ip.addr)
    if route is not None and route.device is not None:
        node.sysctl[f"net.ipv4.conf.{route.device.name}.route_localnet"] = 1


def _forget_udp(node: Netns, mappings: list[Mapping]) -> None:
    """A UDP client that keeps its port would stay with what answered before: its connection goes."""
    ports = {each.host_port for each in mappings if each.protocol.lower() == "udp"}
    if ports and node.conntrack is not None:
        node.conntrack.delete(lambda conn: conn.family == AF_INET and conn.orig[0] == UDP and conn.orig[4] in ports)


def _load(config: Config, attachment: Attachment, prefix: str = "") -> tuple[PortMapConf, Result | None, IP | None]:
    """The plugin's keys, the previous result, and the container's first IPv4 address in it. Raises CniError, or Undecided
    for a key that is not modelled."""
    conf: PortMapConf = read(config, PortMapConf, f"{prefix}failed to parse network configuration: ")
    if conf.backend == "nftables":
        raise unmodelled("portmap", f"backend: {conf.backend}")
    if conf.mark_masq_bit is not None and conf.external_set_mark_chain is not None:
        raise failure(f"{prefix}Cannot specify externalSetMarkChain and markMasqBit")
    if not 0 <= (conf.mark_masq_bit or 0) <= 31:
        raise failure(f"{prefix}MasqMarkBit must be between 0 and 31")
    if conf.backend not in (None, "iptables"):
        raise failure(f'{prefix}unrecognized backend "{conf.backend}"')
    for each in conf.mappings:
        if each.container_port <= 0:
            raise failure(f"{prefix}Invalid container port number: {each.container_port}")
        if each.host_port <= 0:
            raise failure(f"{prefix}Invalid host port number: {each.host_port}")
    if not config.get("prevResult"):
        return conf, None, None
    result = Result.from_json(config["prevResult"])
    return conf, result, next((ip for ip in result.ips if _of_container(ip, result, attachment)), None)


def _of_container(ip: IP, result: Result, attachment: Attachment) -> bool:
    """IPv4, and not known to be another interface's."""
    if ":" in ip.address:
        return False
    if ip.interface is None or not 0 <= ip.interface < len(result.interfaces):
        return True
    interface = result.interfaces[ip.interface]
    return interface.name == attachment.ifname and bool(interface.sandbox)
