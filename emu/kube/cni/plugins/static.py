"""`static`: addresses that the configuration names (plugins/ipam/static).

CNI_ARGS adds addresses; `args.cni.ips`, and before it the capability `ips`, takes the place of them all. Nothing is kept
and nothing is given back. Must not know devices.
"""

from __future__ import annotations

import msgspec

from emu.errors import InputError, Undecided
from emu.kube.cni.container import previous
from emu.kube.cni.keys import Keys
from emu.kube.cni.spec import IP, VERSIONS, Attachment, Config, Dns, Result, Route, failure, plugins, read
from emu.modelled import NotModelled, used
from emu.wire.addr import Prefix, ip4

_HERE = used("kube/cni/plugins/static")


class _Address(msgspec.Struct):
    address: str = ""
    gateway: str = ""


class _Ipam(msgspec.Struct):
    addresses: list[_Address] = []
    routes: list[Route] = []
    dns: Dns | None = None


class _Ips(msgspec.Struct):
    ips: list[str] = []


class _Args(msgspec.Struct):
    cni: _Ips = msgspec.field(default_factory=_Ips)


class _NetConf(msgspec.Struct, rename="camel"):
    cni_version: str = ""
    ipam: _Ipam | None = None
    runtime_config: _Ips = msgspec.field(default_factory=_Ips)
    args: _Args = msgspec.field(default_factory=_Args)


@plugins.add("static")
class Static:
    """IPAM: the result has addresses, routes and DNS, no interfaces."""

    keys: Keys = {
        "addresses": {"address": _HERE, "gateway": _HERE},
        "routes": {
            **dict.fromkeys(("dst", "gw", "mtu", "priority", "table", "scope"), used("kube/cni/links")),
            "advmss": NotModelled("the MSS of a route"),
        },
        "dns": _HERE,
    }

    def add(self, config: Config, attachment: Attachment) -> Result:
        ipam, ips = _load(config, attachment)
        return Result(ips=ips, routes=tuple(ipam.routes), dns=ipam.dns or Result().dns)

    def check(self, config: Config, attachment: Attachment) -> None:
        _, ips = _load(config, attachment)
        there = previous(config).ips
        for ip in ips:
            found = next((each for each in there if each.addr == ip.addr), None)
            if found is not None and ip.gateway not in ("", found.gateway):
                addr = ip.address.partition("/")[0]
                raise failure(f"static: Failed to match addr {addr} on interface {attachment.ifname}")

    def delete(self, config: Config, attachment: Attachment) -> None:
        """Nothing was taken, and the configuration is not read."""


def _load(config: Config, attachment: Attachment) -> tuple[_Ipam, tuple[IP, ...]]:
    """The `ipam` object, and the addresses out of it and out of what the runtime gave. Raises CniError."""
    conf: _NetConf = read(config, _NetConf)
    ipam = conf.ipam
    if ipam is None:
        raise failure("IPAM config missing 'ipam' key")
    for route in ipam.routes:
        if not _is_cidr(route.dst):
            raise failure(f"invalid CIDR address: {route.dst}")
        _gateway(route.gw, "invalid IP address")
    for each in ipam.addresses:
        _gateway(each.gateway, "invalid IP address")
    ips = [IP(each.address, each.gateway) for each in ipam.addresses] + _from_args(attachment)
    replaced = conf.runtime_config.ips or conf.args.cni.ips
    if replaced:
        ips = [IP(_cidr(text, "an entry in the 'ips' field is NOT in")) for text in replaced]
    for ip in ips:
        _cidr(ip.address, "the 'address' field is expected to be in")
    # an empty version is 0.1.0
    if len(ips) > 1 and VERSIONS.index(conf.cni_version or VERSIONS[0]) < VERSIONS.index("0.3.0"):
        raise failure(f"CNI version {conf.cni_version} does not support more than 1 address per family")
    return ipam, tuple(ips)


def _from_args(attachment: Attachment) -> list[IP]:
    """The addresses of CNI_ARGS. Each of its gateways is that of its addresses which are of the same subnet, and not of the
    configuration's, which are not read by then. Raises CniError."""
    given = attachment.known_args("IP", "GATEWAY")
    texts = given["IP"].split(",") if "IP" in given else []
    ips = [IP(_cidr(text.strip(), "the 'ip' field is expected to be in")) for text in texts]
    for text in given["GATEWAY"].split(",") if "GATEWAY" in given else []:
        gateway = text.strip()
        _gateway(gateway, "invalid gateway address")
        ips = [msgspec.structs.replace(ip, gateway=gateway) if ip4(gateway) in ip.prefix else ip for ip in ips]
    return ips


def _cidr(text: str, words: str) -> str:
    if not _is_cidr(text):
        raise failure(f"{words} CIDR notation, got: '{text}'")
    return text


def _is_cidr(text: str) -> bool:
    """Is it an IPv4 address with a prefix length? Raises Undecided for IPv6."""
    host, slash, _ = text.partition("/")
    if ":" in host:
        raise Undecided(f"CNI plugin static: {text!r} is IPv6, which is not modelled")
    try:
        if slash:
            ip4(host)
            Prefix.parse(text)
            return True
    except InputError:
        pass
    return False


def _gateway(text: str, words: str) -> None:
    if ":" in text:
        raise Undecided(f"CNI plugin static: {text!r} is IPv6, which is not modelled")
    try:
        if text:
            ip4(text)
    except InputError:
        raise failure(f"{words}: {text}") from None
