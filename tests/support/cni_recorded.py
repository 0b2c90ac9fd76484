"""The tables of CNI calls whose answers are recorded (tests/reference/recorded/cni.json). Must not know a plugin's keys."""

from __future__ import annotations

import cni_bridge_cases
import cni_stacked_cases
import cni_vrf_cases

CASES = {**cni_stacked_cases.CASES, **cni_bridge_cases.CASES, **cni_vrf_cases.CASES}
