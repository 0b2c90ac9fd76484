"""/etc/resolv.conf of a pod, as the kubelet writes it by dnsPolicy and dnsConfig.

Source: kubernetes pkg/kubelet/network/dns. Must not know the resolver that reads it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from emu.errors import InputError
from emu.kube.api.core import Pod
from emu.wire.addr import decimal

POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
CLUSTER_OPTIONS = ("ndots:5",)
MAX_NAMESERVERS, MAX_SEARCHES, MAX_SEARCH_CHARACTERS = 3, 32, 2048
# glibc's defaults and caps (resolv/resolv.h)
LIMITS = {"ndots": (1, 15), "timeout": (5, 30), "attempts": (2, 5)}


class ResolvConf(NamedTuple):
    """`options` as in the file: `ndots:5`, `use-vc`."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def number(self, option: str) -> int:
        """The value of ndots, timeout (seconds) or attempts, within glibc's limits."""
        value, highest = LIMITS[option]
        for each in self.options:
            name, _, text = each.partition(":")
            number = decimal(text) if name == option else None
            if number is not None:
                value = min(number, highest)
        return value

    def has(self, option: str) -> bool:
        return option in self.options

    @property
    def text(self) -> str:
        """The file."""
        lines = [f"search {' '.join(self.searches)}"] if self.searches else []
        lines += [f"nameserver {each}" for each in self.nameservers]
        if self.options:
            lines.append(f"options {' '.join(self.options)}")
        return "".join(f"{line}\n" for line in lines)


def of_pod(pod: Pod, node: ResolvConf, cluster_dns: str, domain: str) -> ResolvConf:
    """The file that the kubelet writes into a pod; `node` is the node's own file. Raises InputError for an unknown dnsPolicy."""
    policy, config = pod.spec.dns_policy, pod.spec.dns_config
    if policy not in POLICIES:
        raise InputError(f"pod {pod.namespace}/{pod.name} has no dnsPolicy {policy!r}", expected=", ".join(POLICIES))
    if policy == "None":
        found = ResolvConf()
    elif policy == "ClusterFirstWithHostNet" or (policy == "ClusterFirst" and not pod.spec.host_network):
        searches = (f"{pod.namespace}.svc.{domain}", f"svc.{domain}", domain, *node.searches)
        found = ResolvConf((cluster_dns,), _once(searches), CLUSTER_OPTIONS)
    else:
        found = node
    if config is not None:
        options = {each.partition(":")[0]: each for each in found.options}
        options.update({each.name: f"{each.name}:{each.value}" if each.value else each.name for each in config.options})
        found = ResolvConf(
            _once((*found.nameservers, *config.nameservers)),
            _once((*found.searches, *config.searches)),
            tuple(options.values()),
        )
    return ResolvConf(found.nameservers[:MAX_NAMESERVERS], _fitting(found.searches), found.options)


def _once(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


def _fitting(searches: tuple[str, ...]) -> tuple[str, ...]:
    """The search domains that a resolver uses: at most 32, and 2048 characters with the spaces between."""
    kept: list[str] = []
    for each in searches[:MAX_SEARCHES]:
        if len(" ".join((*kept, each))) > MAX_SEARCH_CHARACTERS:
            break
        kept.append(each)
    return tuple(kept)
