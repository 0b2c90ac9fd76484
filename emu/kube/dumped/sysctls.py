"""The sysctls of a dump: those that are modelled are set, those that break the node's part are findings, the others are counted.

Must not know which texts there are besides.
"""

from __future__ import annotations

from emu.errors import InputError
from emu.kernel.netfilter.ctnetlink import create
from emu.kernel.sysctl import row_of
from emu.kube.dumped.site import Site
from emu.modelled import NotModelled, Used
from emu.pasted.sysctl_text import Setting
from emu.wire.frame import UDP

FORWARD, BRIDGE_NF = "net.ipv4.ip_forward", "net.bridge.bridge-nf-call-iptables"
MAX, COUNT = "net.netfilter.nf_conntrack_max", "net.netfilter.nf_conntrack_count"
A_DAY_S, LOOPBACK = 86400, 0x7F000001
# read-only, or of all namespaces: written by no one, and set elsewhere
_ALIASES = {"net.nf_conntrack_max": MAX}


def sysctls(site: Site) -> None:
    """Compare, and put in place."""
    given = site.dump.sysctls
    if given is None:
        return
    before = {
        name: _effective(site, name)
        for name in given
        if _is_conf(name, "rp_filter") or _is_conf(name, "route_localnet")
    }
    idle, strange = 0, []
    own = site.net.sysctl
    for name, setting in sorted(given.items(), key=lambda each: (".all." not in each[0], ".default." not in each[0])):
        name = _ALIASES.get(name, name)
        try:
            row = row_of(name)
        except (InputError, KeyError):
            idle += 1
            continue
        if not isinstance(row.treatment, Used | NotModelled) or name not in own:
            idle += 1
            continue
        try:
            if str(own[name]) != setting.value:
                own[name] = setting.value
        except InputError:
            strange.append(name)
    file = site.dump.texts.file("sysctl")
    if idle:
        site.notes.append(
            f"{file}: {idle} of {len(given)} variables are not read: they change no packet here, or are not known"
        )
    if strange:
        site.notes.append(f"{file}: {', '.join(strange[:3])}: {len(strange)} values cannot be set here")
    _judge(site, given, before)


def _is_conf(name: str, variable: str) -> bool:
    return name.startswith("net.ipv4.conf.") and name.endswith(f".{variable}")


def _device(name: str) -> str:
    return name.split(".")[3].replace("/", ".")


def _effective(site: Site, name: str) -> int:
    device = _device(name)
    if device == "all" and name.endswith(".route_localnet"):  # kube-proxy sets it there
        return site.net.sysctl.number(name)
    if device not in site.net.devices:
        return -1
    return site.net.sysctl.conf(device, name.rpartition(".")[2])


def _judge(site: Site, given: dict[str, Setting], before: dict[str, int]) -> None:
    _must_be(site, given, FORWARD, "1", "the node forwards no packet")
    if any(each.kind == "bridge" for each in site.net.devices.values()):
        _must_be(site, given, BRIDGE_NF, "1", "what pods of one bridge send to a Service is not translated back")
    for name, was in before.items():
        now = _effective(site, name)
        if _is_conf(name, "rp_filter") and now == 1 and was not in (1, -1) and _asymmetric(site, _device(name)):
            setting = _deciding(given, name)
            what = f"rp_filter of {_device(name)} is strict: what comes in there and would leave by another interface is dropped"
            _differ(site, given, setting, what, str(was), device=_device(name))
        elif _is_conf(name, "route_localnet") and not now and was == 1:
            what = f"route_localnet of {_device(name)} is 0: a NodePort at 127.0.0.1 is not reached"
            _differ(site, given, name, what, "1", device=_device(name))
    used = given.get(COUNT)
    most = given.get(MAX) or given.get("net.nf_conntrack_max")
    if used is not None and most is not None and used.value.isdigit() and most.value.isdigit() and int(most.value):
        count, limit = int(used.value), int(most.value)
        if count >= limit:
            what = f"the table of connections is full: {count} of {limit}; a new connection is dropped"
            name = MAX if MAX in given else "net.nf_conntrack_max"
            _differ(site, given, name, what, f"more than {count}", id="conntrack-full")
            if site.dump.connections is None and site.net.conntrack is not None:  # one stands for all of its entries
                ends = (UDP, LOOPBACK, LOOPBACK, 1, 1)
                create(site.net.conntrack, ends, (UDP, LOOPBACK, LOOPBACK, 1, 1), seconds=A_DAY_S, assured=True)
                site.net.sysctl[MAX] = 1


def _asymmetric(site: Site, device: str) -> bool:
    """Whether the node has several uplinks, so that an answer may come in by another one."""
    nics = {each.device.name for each in site.net.ipv4.addresses if each.device.kind == "veth"}
    return device in nics and len(nics) > 1


def _deciding(given: dict[str, Setting], name: str) -> str:
    """The device's own variable, or that of `all`, whichever is strict."""
    everyone = f"net.ipv4.conf.all.{name.rpartition('.')[2]}"
    return name if given[name].value == "1" or everyone not in given else everyone


def _must_be(site: Site, given: dict[str, Setting], name: str, value: str, what: str) -> None:
    if name in given and given[name].value != value:
        _differ(site, given, name, f"{name} is {given[name].value}: {what}", value)


def _differ(
    site: Site, given: dict[str, Setting], name: str, what: str, expected: str, *, device: str = "", id: str = "sysctl"
) -> None:
    place = site.dump.texts.variable(name, given[name].line)
    site.differs(id, what, place, f"{name} = {expected}", f"{name} = {given[name].value}", device=device)
