"""The annotations that limit what a pod receives and sends, as the capability `bandwidth` of CNI.

kubelet leaves them to the runtime: containerd's toCNIBandWidth, with ExtractPodBandwidthResources of Kubernetes. Must not
know plugins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import ceil

from emu.errors import InputError

BANDWIDTH = "bandwidth"
INGRESS, EGRESS = "kubernetes.io/ingress-bandwidth", "kubernetes.io/egress-bandwidth"
BURST = (1 << 32) - 1  # math.MaxUint32 bits, whatever the rate
LEAST, MOST = 1_000, 10**15
_QUANTITY = re.compile(r"(\+?\d+(?:\.\d*)?|\.\d+)(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?\d{1,3}))?")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def bandwidth_of(annotations: Mapping[str, str]) -> dict[str, int]:
    """The value of the capability; empty without annotations. Rates are bits per second, bursts bits. Raises InputError."""
    found: dict[str, int] = {}
    for annotation, word in ((INGRESS, "ingress"), (EGRESS, "egress")):
        text = annotations.get(annotation)
        if text is not None:
            found |= {f"{word}Rate": _rate(annotation, text), f"{word}Burst": BURST}
    return found


def _rate(annotation: str, text: str) -> int:
    from fractions import Fraction

    read = _QUANTITY.fullmatch(text)
    if read is None:
        raise InputError(f"annotation {annotation}: {text!r} is not a quantity", expected="such as 10M")
    number, suffix, exponent = read.groups()
    scale = Fraction(2) ** _BINARY[suffix] if suffix in _BINARY else Fraction(10) ** _DECIMAL.get(suffix or "", 0)
    rate = ceil(Fraction(number) * scale * Fraction(10) ** int(exponent or 0))
    if not LEAST <= rate <= MOST:
        size = "small (< 1kbit)" if rate < LEAST else "large (> 1Pbit)"
        raise InputError(f"annotation {annotation}: resource is unreasonably {size}", expected="1k to 1P")
    return rate
