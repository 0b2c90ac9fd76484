"""How emu treats the keys of KubeProxyConfiguration (v1alpha1) that a scenario's `kubeProxy` may hold.

A key that is in `KubeProxyPart` and not here is used. Must not know clusters.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from emu.modelled import NotModelled, Treatment, WithoutEffect
from emu.scenario.kinds import KubeProxyPart

_PROCESS = WithoutEffect("it concerns the process of kube-proxy")
_OTHER_MODE = WithoutEffect("only another mode reads it")

KEYS: dict[str, Treatment] = {
    "apiVersion": WithoutEffect("there is one version"),
    "kind": WithoutEffect("there is one kind"),
    "bindAddress": NotModelled("a node's address is its InternalIP", defaults=("0.0.0.0", "::")),
    "bindAddressHardFail": _PROCESS,
    "clientConnection": _PROCESS,
    "configSyncPeriod": WithoutEffect("no watch of emu loses an event"),
    "conntrack": NotModelled("conntrack's limits and timeouts are those of cluster.sysctls"),
    "enableProfiling": _PROCESS,
    "featureGates": NotModelled("every gate has its default"),
    "healthzBindAddress": NotModelled("kube-proxy's own health server does not run"),
    "hostnameOverride": WithoutEffect("each kube-proxy knows its node"),
    "ipvs": _OTHER_MODE,
    "logging": _PROCESS,
    "metricsBindAddress": NotModelled("kube-proxy's metrics server does not run"),
    "nftables": _OTHER_MODE,
    "oomScoreAdj": _PROCESS,
    "portRange": WithoutEffect("kube-proxy opens no ports any more"),
    "showHiddenMetricsForVersion": _PROCESS,
    "windowsRunAsService": _PROCESS,
    "winkernel": _OTHER_MODE,
}


def remarks(part: KubeProxyPart) -> Iterator[tuple[str, str]]:
    """The key and a sentence, for each that is set and not modelled."""
    for attribute, key in zip(part.__struct_fields__, part.__struct_encode_fields__, strict=True):
        row, value = KEYS.get(key), getattr(part, attribute)
        if isinstance(row, NotModelled) and not _unset(value) and value not in row.defaults:
            shown = "" if isinstance(value, (dict, list)) else f" {value}"
            yield key, f"{key}{shown} is not modelled: {row.what}"


def _unset(value: Any) -> bool:
    """Nothing, or an object that holds nothing: as configurations are printed with their empty keys."""
    return value in (None, "", [], {}) or (isinstance(value, dict) and all(map(_unset, value.values())))
