"""The networks that come along, by name: a configuration list from a template, and what the node needs beside it.

A user's .conflist is filled in with the same words. Adding a network is adding an entry to `NETWORKS`. Must not know
pods or the cluster's objects: it gets prefixes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from emu.errors import InputError
from emu.kube.cni import links
from emu.kube.cni.config import NetworkConfigList, expand
from emu.kube.cni.spec import Host
from emu.registry import Shelf
from emu.wire.addr import Prefix, ip4_text

# link-local and the private ranges (RFC 3927, RFC 1918): ip-masq-agent's defaults
NON_MASQUERADE = ("169.254.0.0/16", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")

_BRIDGE = """{
  "cniVersion": "1.0.0",
  "name": "bridge",
  "plugins": [
    {
      "type": "bridge",
      "bridge": "cbr0",
      "isGateway": true,
      "ipMasq": false,
      "hairpinMode": {{.HairpinMode}},
      "mtu": {{.Mtu}},
      "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "{{.PodCIDR}}"}]],
        "routes": [{"dst": "0.0.0.0/0"}]
      }
    }
  ]
}
"""

# The pod's subnet is wider than the bridge's, so the plugin does not number the bridge (`isGateway`): the node does.
_FLAT = """{
  "cniVersion": "1.0.0",
  "name": "flat",
  "plugins": [
    {
      "type": "bridge",
      "bridge": "cbr0",
      "isGateway": false,
      "ipMasq": false,
      "hairpinMode": {{.HairpinMode}},
      "mtu": {{.Mtu}},
      "ipam": {
        "type": "host-local",
        "ranges": [[{
          "subnet": "{{.PodSubnet}}",
          "rangeStart": "{{.PodCIDRFirst}}",
          "rangeEnd": "{{.PodCIDRLast}}",
          "gateway": "{{.PodCIDRFirst}}"
        }]],
        "routes": [{"dst": "0.0.0.0/0"}]
      }
    }
  ]
}
"""


@dataclass(frozen=True)
class NodeBridge:
    """A bridge that the node itself numbers: `address` as "10.244.1.1/24", and the bridge's own sysctls."""

    name: str
    address: str
    sysctls: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Network:
    """A node's pod network: `config` for the CNI runtime, iptables-restore text for the node ("" for none), and bridges
    to make before the first pod."""

    config: NetworkConfigList
    rules: str = ""
    bridges: tuple[NodeBridge, ...] = ()
    agents: tuple[str, ...] = ()

    def prepare(self, host: Host) -> None:
        """Do to the node what no plugin of the list does. Idempotent."""
        for each in self.bridges:
            bridge = links.ensure_bridge(host, each.name, 0, promisc=False)
            links.ensure_address(host, bridge, each.address, force=False)
            links.enable_forwarding(host.netns)
            for variable, value in each.sysctls.items():
                host.netns.sysctl[f"net.ipv4.conf.{each.name}.{variable}"] = value


Words = Mapping[str, str | tuple[str, ...]]
NetworkMaker = Callable[[Words], Network]
NETWORKS: Shelf[NetworkMaker] = Shelf("network")


def load_network(name: str, pod_cidr: Prefix, pod_subnet: Prefix, *, mtu: int = 1500, hairpin: bool = False) -> Network:
    """A built-in network by `name`, or that of a .conflist (its path, or its text), for the node with `pod_cidr`.

    `mtu` (bytes) and `hairpin` are what the built-in ones use, and words for a template. A .conflist brings no rules:
    `ipMasq` is its own business. Raises InputError: no such network or file, or the configuration is wrong.
    """
    words = template_words(pod_cidr, pod_subnet, mtu, hairpin)
    if name in NETWORKS:
        return NETWORKS[name](words)
    if name.lstrip().startswith("{"):
        return Network(NetworkConfigList.parse(expand(name, words)))
    path = Path(name)
    if path.suffix in (".conflist", ".conf", ".json"):
        return Network(NetworkConfigList.load(path, words))
    raise InputError(
        f"no network is called {name!r}", expected=f"{', '.join(sorted(NETWORKS))}, or the path of a .conflist file"
    )


def template_words(pod_cidr: Prefix, pod_subnet: Prefix, mtu: int = 1500, hairpin: bool = False) -> Words:
    """What a template may say: containerd's words (PodCIDR, PodCIDRRanges, Routes), and those that ours need."""
    return {
        "PodCIDR": str(pod_cidr),
        "PodCIDRRanges": (str(pod_cidr),),
        "Routes": ("0.0.0.0/0",),
        "PodSubnet": str(pod_subnet),
        "PodCIDRFirst": ip4_text(pod_cidr.net + 1),
        "PodCIDRLast": ip4_text(pod_cidr.broadcast - 1),
        "PodCIDRLength": str(pod_cidr.length),
        "Mtu": str(mtu),
        "HairpinMode": str(hairpin).lower(),
    }


@NETWORKS.add("bridge")
def bridge(words: Words) -> Network:
    """kubenet's: the node's pods are on link to each other, everything else is behind cbr0."""
    return Network(NetworkConfigList.parse(expand(_BRIDGE, words)), ip_masq_agent_rules())


@NETWORKS.add("flat")
def flat(words: Words) -> Network:
    """All pods believe they share one link. On the bridge nobody answers for another node's pod but the node (proxy ARP)."""
    own = NodeBridge("cbr0", expand("{{.PodCIDRFirst}}/{{.PodCIDRLength}}", words), {"proxy_arp": 1})
    return Network(NetworkConfigList.parse(expand(_FLAT, words)), ip_masq_agent_rules(), (own,))


def ip_masq_agent_rules(non_masquerade: Sequence[str] = NON_MASQUERADE) -> str:
    """ip-masq-agent's nat rules as iptables-restore text (for `noflush`): traffic to the CIDRs `non_masquerade` keeps
    its source, the rest that leaves the node takes the node's address."""
    jump = "ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom IP-MASQ-AGENT chain"
    local = "local traffic is not subject to MASQUERADE"
    last = "outbound traffic is subject to MASQUERADE (must be last in chain)"
    lines = [
        "*nat",
        ":IP-MASQ-AGENT - [0:0]",
        f"-A POSTROUTING {_said(jump)} -m addrtype ! --dst-type LOCAL -j IP-MASQ-AGENT",
        *(f"-A IP-MASQ-AGENT -d {cidr} {_said(local)} -j RETURN" for cidr in non_masquerade),
        f"-A IP-MASQ-AGENT {_said(last)} -j MASQUERADE",
        "COMMIT",
        "",
    ]
    return "\n".join(lines)


def _said(comment: str) -> str:
    return f'-m comment --comment "ip-masq-agent: {comment}"'
