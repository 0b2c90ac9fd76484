"""The connections of a dump fill the node's table. Must not know rules."""

from __future__ import annotations

from emu.kernel.netfilter.ctnetlink import create
from emu.kube.dumped.site import Site
from emu.pasted.connections import Connection
from emu.wire.addr import ip4_text
from emu.wire.proto import PROTOCOL_NAMES

MOST = 20  # stale ones that are named


def connections(site: Site) -> None:
    """Compare, and put in place of those that the table has."""
    given = site.dump.connections
    table = site.net.conntrack
    if given is None or table is None:
        return
    table.delete(lambda conn: True)
    stale = 0
    for each in given:
        create(
            table, each.orig, each.reply, seconds=each.seconds, state=each.state, replied=each.replied, assured=each.assured,
            mark=each.mark,
        )  # fmt: skip
        if _is_stale(site, each):
            stale += 1
            if stale <= MOST:
                _name(site, each)


def _is_stale(site: Site, each: Connection) -> bool:
    """It is translated to an address of the pod subnet that no pod has."""
    translated = (each.reply[1], each.reply[3]) != (each.orig[2], each.orig[4])
    return translated and each.reply[1] in site.pod_subnet and not site.known(each.reply[1])


def _name(site: Site, each: Connection) -> None:
    proto, source, target, sport, dport = each.orig
    name = PROTOCOL_NAMES.get(proto, str(proto))
    shown = f"src={ip4_text(source)} dst={ip4_text(target)} sport={sport} dport={dport}"
    what = f"a {name} connection of {site.owner(source) or ip4_text(source)} to {ip4_text(target)}:{dport} is translated to {ip4_text(each.reply[1])}, which no pod has"
    found = f"{name} {shown} src={ip4_text(each.reply[1])} dst={ip4_text(each.reply[2])}"
    site.differs(
        "conntrack-stale", what, site.dump.place("conntrack", shown), "", found, addr=each.reply[1], port=each.reply[3], chain=f"{ip4_text(source)}:{sport}"
    )  # fmt: skip
