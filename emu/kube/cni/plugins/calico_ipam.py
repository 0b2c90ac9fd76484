"""`calico-ipam`: an address out of the cluster's pool, from a block that the machine's node has claimed (cni-plugin/pkg/ipamplugin).

Must not know devices, or how blocks are chosen.
"""

from __future__ import annotations

from emu.errors import InputError
from emu.kube.api.calico import IPPool
from emu.kube.cni import calico_blocks
from emu.kube.cni.datastore import datastore
from emu.kube.cni.keys import Keys
from emu.kube.cni.spec import IP, Attachment, Config, Result, failure, plugins
from emu.modelled import NotModelled, WithoutEffect
from emu.wire.addr import ip4, ip4_text


@plugins.add("calico-ipam")
class CalicoIpam:
    """IPAM: the result has one address, a /32 without a gateway. CHECK finds nothing, as Calico's."""

    keys: Keys = {
        "assign_ipv4": NotModelled("pods without IPv4", defaults=("true",)),
        "assign_ipv6": WithoutEffect("pods have no IPv6"),
        "ipv4_pools": NotModelled("which pool an address is from"),
        "ipv6_pools": WithoutEffect("pods have no IPv6"),
    }

    def add(self, config: Config, attachment: Attachment) -> Result:
        owner = (attachment.container_id, attachment.ifname)
        if owner not in attachment.host.leased:
            return self._give(config, attachment)
        attachment.host.leased.discard(owner)
        own = calico_blocks.blocks_of(datastore(attachment.host), attachment.host.netns.name)
        return Result(ips=(IP(f"{ip4_text(calico_blocks.address_of(own, _handle(config, attachment)))}/32"),))

    def lease(self, config: Config, attachment: Attachment) -> Result | None:
        result = self._give(config, attachment)
        attachment.host.leased.add((attachment.container_id, attachment.ifname))
        return result

    def _give(self, config: Config, attachment: Attachment) -> Result:
        store, node = datastore(attachment.host), attachment.host.netns.name
        pools = store.list(IPPool)
        if not pools:
            raise failure("failed to request IPv4 addresses: no configured Calico pools")
        handle, wanted = _handle(config, attachment), attachment.known_args("IP").get("IP", "")
        if wanted:
            addr = calico_blocks.assign_given(store, pools[0], node, handle, _address(wanted))
        else:
            addr = calico_blocks.assign(store, pools[0], node, handle)
        return Result(ips=(IP(f"{ip4_text(addr)}/32"),))

    def check(self, config: Config, attachment: Attachment) -> None:
        """cmdDummyCheck: always content."""

    def delete(self, config: Config, attachment: Attachment) -> None:
        calico_blocks.release(datastore(attachment.host), _handle(config, attachment))


def _address(text: str) -> int:
    """IP of CNI_ARGS. Raises CniError."""
    try:
        return ip4(text.partition("/")[0])
    except InputError:
        raise failure(f"invalid IP address: {text}") from None


def _handle(config: Config, attachment: Attachment) -> str:
    return f"{config['name']}.{attachment.container_id}"
