"""`bandwidth`: a token bucket for what a container receives, and one for what it sends (plugins/meta/bandwidth, v1.9).

It is chained. The first is at the host's end of the container's veth pair; what the container sends is redirected there to an
ifb device `bwp...` with the second. Rates are bits per second, bursts bits. Must not know pods, or which plugin made the pair.
"""

from __future__ import annotations

import msgspec

from emu.errors import InputError
from emu.kernel.link.device import Device
from emu.kernel.link.ifb import Ifb
from emu.kernel.link.tbf import Tbf, buffer_ticks, limit_bytes
from emu.kernel.link.veth import Veth
from emu.kernel.net import link_change
from emu.kernel.net.netns import Netns
from emu.kube.cni import container, ip_masq, links
from emu.kube.cni.keys import Keys
from emu.kube.cni.spec import Attachment, Config, Interface, Result, failure, plugins, read
from emu.modelled import used
from emu.wire.addr import mac_text

_U32 = (1 << 32) - 1
_IFB_LENGTH = 15


class Limits(msgspec.Struct, rename="camel"):
    """Bits per second and bits; 0: no limit."""

    ingress_rate: int = 0
    ingress_burst: int = 0
    egress_rate: int = 0
    egress_burst: int = 0


class _Runtime(msgspec.Struct):
    bandwidth: Limits | None = None


class BandwidthConf(msgspec.Struct, rename="camel"):
    """The plugin's keys. Those of the configuration come before the capability `bandwidth`, all together."""

    name: str
    ingress_rate: int | None = None
    ingress_burst: int | None = None
    egress_rate: int | None = None
    egress_burst: int | None = None
    runtime_config: _Runtime = msgspec.field(default_factory=_Runtime)


@plugins.add("bandwidth")
class BandwidthPlugin:
    """Chained: the result is the one before, with the ifb device."""

    since = "0.3.0"
    keys: Keys = dict.fromkeys(
        ("ingressRate", "ingressBurst", "egressRate", "egressBurst"), used("kube/cni/plugins/bandwidth")
    )

    def add(self, config: Config, attachment: Attachment) -> Result:
        conf, limits = _load(config)
        if limits == Limits():
            if not config.get("prevResult"):  # the plugin ends by a nil pointer
                raise failure("netplugin failed with no error message")
            return Result.from_json(config["prevResult"])
        result = container.previous(config, "must be called as chained plugin")
        host = attachment.host.netns
        outside = _host_end(result, attachment)
        if limits.ingress_rate and limits.ingress_burst:
            _shape(outside, limits.ingress_rate, limits.ingress_burst, "")
        if limits.egress_rate and limits.egress_burst:
            ifb = _make_ifb(host, _ifb_name(conf, attachment), outside.mtu)
            result = msgspec.structs.replace(
                result, interfaces=(*result.interfaces, Interface(ifb.name, mac_text(ifb.mac)))
            )
            if outside.ingress is not None:
                raise failure("create ingress qdisc: file exists")
            outside.ingress = ifb.redirect
            _shape(ifb, limits.egress_rate, limits.egress_burst, "create ifb qdisc: ")
        return result

    def check(self, config: Config, attachment: Attachment) -> None:
        conf, limits = _load(config)
        result = container.previous(config, "must be called as a chained plugin")
        outside = _host_end(result, attachment)
        if limits.ingress_rate and limits.ingress_burst:
            _check(outside, limits.ingress_rate, limits.ingress_burst)
        if limits.egress_rate and limits.egress_burst:
            ifb = attachment.host.netns.devices.get(_ifb_name(conf, attachment))
            if ifb is None:
                raise failure("get ifb device: Link not found")
            _check(ifb, limits.egress_rate, limits.egress_burst)

    def delete(self, config: Config, attachment: Attachment) -> None:
        """The ifb device goes; the rest is at the veth pair, and goes with it."""
        conf, _ = _load(config)
        ifb = attachment.host.netns.devices.get(_ifb_name(conf, attachment))
        if ifb is not None:
            link_change.delete(ifb)


def _load(config: Config) -> tuple[BandwidthConf, Limits]:
    """The keys and the limits that hold. Raises CniError."""
    conf: BandwidthConf = read(config, BandwidthConf, "failed to parse network configuration: ")
    own = (conf.ingress_rate, conf.ingress_burst, conf.egress_rate, conf.egress_burst)
    limits = conf.runtime_config.bandwidth or Limits()
    if any(each is not None for each in own):
        limits = Limits(*(each or 0 for each in own))
    for rate, burst in ((limits.ingress_rate, limits.ingress_burst), (limits.egress_rate, limits.egress_burst)):
        if rate < 0 or burst < 0:
            raise failure("failed to parse network configuration: a rate or burst is below 0")
        if rate and not burst:
            raise failure("if rate is set, burst must also be set")
        if burst and not rate:
            raise failure("if burst is set, rate must also be set")
        if burst // 8 >= _U32:
            raise failure("burst cannot be more than 4GB")
    return conf, limits


def _ifb_name(conf: BandwidthConf, attachment: Attachment) -> str:
    return ip_masq.chain_name(conf.name, attachment.container_id, "bwp")[:_IFB_LENGTH]


def _host_end(result: Result, attachment: Attachment) -> Device:
    """getHostInterface: the other end of the container's pair, which the result names. Raises CniError."""
    if not result.interfaces:
        raise failure("no interfaces provided")
    name, host = attachment.ifname, attachment.host.netns
    device = links.open_netns(attachment).devices.get(name)
    words = f"container interface {name} has no veth peer"
    if device is None:
        raise failure(f'{words}: could not look up "{name}": Link not found')
    if not isinstance(device, Veth) or device.peer is None:
        raise failure(f'{words}: interface "{name}" was not a veth interface')
    peer = device.peer
    if peer.net is not host:
        raise failure(f"veth peer with index {peer.ifindex} is not in host ns")
    if all(each.sandbox or each.name != peer.name for each in result.interfaces):
        raise failure("no veth peer of container interface found in host ns")
    return peer


def _make_ifb(host: Netns, name: str, mtu: int) -> Ifb:
    if name in host.devices:
        raise failure("adding link: file exists")
    device = Ifb(host.clock, name, links.random_mac(host.clock, f"mac/{host.name}"), mtu)
    host.attach(device)
    return device


def _sizes(rate: int, burst: int) -> tuple[int, int, int]:
    """Bytes per second, the bucket in ticks, the queue in bytes. Of bits per second and bits."""
    return rate // 8, buffer_ticks(rate // 8, burst // 8), limit_bytes(rate // 8, burst // 8)


def _shape(device: Device, rate: int, burst: int, words: str) -> None:
    """createTBF. Raises CniError."""
    if device.qdisc is not None:
        raise failure(f"{words}create qdisc: file exists")
    try:
        speed, ticks, limit = _sizes(rate, burst)
        device.qdisc = Tbf(speed, ticks, limit, now=device.clock.now)
    except (InputError, ZeroDivisionError):
        raise failure(f"{words}create qdisc: invalid argument") from None


def _check(device: Device, rate: int, burst: int) -> None:
    """The root qdisc is as it was made. Raises CniError; one of another kind is no error of the plugin's."""
    found = device.qdisc
    if not isinstance(found, Tbf):
        return
    speed, ticks, limit = _sizes(rate, burst)
    if found.rate != speed:
        raise failure("Rate doesn't match")
    if found.limit != limit:
        raise failure("Limit doesn't match")
    if found.ticks != ticks:
        raise failure("Buffer doesn't match")
