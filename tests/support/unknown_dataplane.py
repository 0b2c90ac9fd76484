"""A network that enforces policies by something that is not modelled: kindnet's, with its dataplane taken away."""

from __future__ import annotations

from dataclasses import replace

import pytest

from emu.kube.networks.kindnet.network import kindnet
from emu.kube.networks.network import Network, NodeSettings, networks


def without_dataplane(patch: pytest.MonkeyPatch) -> None:
    """From now on what enforces policies with kindnet is not modelled."""
    assert "kindnet" in networks  # so that the shelf is full
    patch.setitem(networks._parts, "kindnet", _unknown)


def _unknown(node: NodeSettings) -> Network:
    return replace(kindnet(node), policy="")
