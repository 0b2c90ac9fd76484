"""Chain names and probabilities against upstream's vectors."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from emu.kernel.netfilter.matches.statistic import probability, spell_probability
from emu.kube.proxy.iptables import names

DATA = Path(__file__).parents[2] / "data" / "kube-proxy"
VECTORS = yaml.load((DATA / "chain_names.yaml").read_text(), yaml.CSafeLoader)
CHANCES = yaml.load((DATA / "probabilities.yaml").read_text(), yaml.CSafeLoader)["values"]


@pytest.mark.parametrize("row", VECTORS["iptables_service"], ids=lambda row: row["hash"])
def test_service_chains(row: dict[str, str]) -> None:
    assert names.service_hash(row["service_port_name"], row["protocol"]) == row["hash"]


@pytest.mark.parametrize("row", VECTORS["iptables_endpoint"], ids=lambda row: row["hash"])
def test_endpoint_chains(row: dict[str, str]) -> None:
    assert names.endpoint_hash(row["service_port_name"], row["protocol"], row["endpoint"]) == row["hash"]


@pytest.mark.parametrize("row", CHANCES, ids=lambda row: str(row["remaining"]))
def test_probabilities_as_written_and_as_saved(row: dict[str, str]) -> None:
    written = names.probability(int(row["remaining"]))
    assert written == row["written"]
    assert spell_probability(probability(written)) == row["as_saved"]
