"""`egress-cni`: AWS's plugin for the other address family, which passes the result on while it is off. Must not know pods."""

from __future__ import annotations

from emu.kube.cni import container
from emu.kube.cni.keys import Keys
from emu.kube.cni.spec import Attachment, Config, Result, plugins, unmodelled
from emu.modelled import WithoutEffect, used

_OFF = WithoutEffect("the plugin is off")


@plugins.add("egress-cni")
class EgressCniPlugin:
    """Off, as AWS's list has it for a cluster of IPv4. Switched on it is not modelled."""

    keys: Keys = {
        "enabled": used("kube/cni/plugins/egress_cni"),
        **dict.fromkeys(("mtu", "randomizeSNAT", "nodeIP", "pluginLogFile", "pluginLogLevel"), _OFF),
    }

    def add(self, config: Config, attachment: Attachment) -> Result:
        _off(config)
        return container.previous(config, "must be called as chained plugin")

    def check(self, config: Config, attachment: Attachment) -> None:
        _off(config)

    def delete(self, config: Config, attachment: Attachment) -> None:
        _off(config)


def _off(config: Config) -> None:
    """Raises Undecided."""
    if str(config.get("enabled", "false")).lower() == "true":
        raise unmodelled("egress-cni", "enabled: true")
