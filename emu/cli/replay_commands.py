"""`emu replay` and `emu rewrite` with their options, under the names of tcpreplay and tcprewrite. Must not know how anything is done."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emu.cli.console import Form
from emu.cli.options import Force, Namespace, Network, Nodes, OutputForm, SomeManifests, examples

if TYPE_CHECKING:
    from emu.wire.edit import Edits


class Mode(StrEnum):
    """How a capture is replayed."""

    stateful = "stateful"
    frames = "frames"


class FixLen(StrEnum):
    """What is done with a frame that the file has in part."""

    none = ""
    pad = "pad"
    trunc = "trunc"
    del_ = "del"


class Vlan(StrEnum):
    """What is done with the VLAN tag."""

    none = ""
    add = "add"
    del_ = "del"


class VlanProto(StrEnum):
    """The tag's EtherType."""

    q = "802.1q"
    ad = "802.1ad"


class Dlt(StrEnum):
    """Another link type."""

    none = ""
    user = "user"
    hdlc = "hdlc"


Pcap = Annotated[
    Path, typer.Argument(metavar="CAPTURE", help="A pcap, pcapng or hex dump (text2pcap's), gzip or not; -.")
]
Text = Annotated[str, typer.Option()]
Pnat = Annotated[str, typer.Option(metavar="CIDR:CIDR,...", help="Map addresses by prefix, sources and destinations.")]
SrcMap = Annotated[str, typer.Option(metavar="CIDR:CIDR,...", help="Map source addresses by prefix.")]
DstMap = Annotated[str, typer.Option(metavar="CIDR:CIDR,...", help="Map destination addresses by prefix.")]
PortMap = Annotated[
    list[str] | None, typer.Option("-r", "--portmap", metavar="PORT:PORT,...", help="Map ports: 80:8080, 8000-8010:80.")
]
Ttl = Annotated[str, typer.Option(metavar="[+|-]N", help="Set, raise or lower the TTL, and IPv6's hop limit.")]
Tos = Annotated[str, typer.Option(metavar="N", help="Set the type of service, 0 to 255.")]
Mtu = Annotated[int, typer.Option(min=0, max=65535, help="With --mtu-trunc: cut packets that are longer, bytes.")]
MtuTrunc = Annotated[bool, typer.Option("--mtu-trunc", help="Cut packets to --mtu.")]
FixCsum = Annotated[bool, typer.Option("--fixcsum/--no-fixcsum", "-C", help="Compute the checksums.")]
FixLenOption = Annotated[FixLen, typer.Option("-F", "--fixlen", help="Of frames that the file has in part.")]
FixHdrLen = Annotated[bool, typer.Option("--fixhdrlen", help="Set the IP header's length from the frame's.")]
SkipBroadcast = Annotated[bool, typer.Option("--skipbroadcast", "-b", help="Map no broadcast or multicast address.")]
DMac = Annotated[
    str, typer.Option(metavar="MAC[,MAC]", help="Set the destination MAC, of the client's side and the server's.")
]
SMac = Annotated[str, typer.Option(metavar="MAC[,MAC]", help="Set the source MAC.")]
SubsMac = Annotated[list[str] | None, typer.Option(metavar="MAC,MAC", help="Replace one MAC by another.")]
VlanOption = Annotated[Vlan, typer.Option("--enet-vlan", help="Add or delete a VLAN tag.")]
Tag = Annotated[int, typer.Option(min=0, max=4095, help="The VLAN of an added tag.")]
Pri = Annotated[int, typer.Option(min=0, max=7, help="Its priority.")]
Cfi = Annotated[int, typer.Option(min=0, max=1, help="Its CFI.")]
Efcs = Annotated[bool, typer.Option("--efcs", help="Take off the frame check sequence, the last 4 bytes.")]
Limit = Annotated[int, typer.Option("-L", "--limit", min=0, help="No more than so many packets.")]


def edits(
    *, pnat: str = "", srcipmap: str = "", dstipmap: str = "", portmap: list[str] | None = None, ttl: str = "", tos: str = "",
    mtu: int = 0, mtu_trunc: bool = False, fixcsum: bool = False, fixlen: str = "", fixhdrlen: bool = False,
    skipbroadcast: bool = False, dmac: str = "", smac: str = "", subsmac: list[str] | None = None, vlan: str = "", tag: int = 0,
    pri: int = 0, cfi: int = 0, proto: str = "802.1q", efcs: bool = False, endpoints: str = "", cachefile: Path | None = None,
    dlt: str = "", user_dlink: str = "", user_dlt: str = "", hdlc_control: str = "0", hdlc_address: str = "0",
) -> Edits:  # fmt: skip
    """The edits that options ask for. Raises InputError."""
    from emu.errors import InputError
    from emu.wire import edit, edit_link
    from emu.wire.addr import Prefix

    both = edit.pairs(pnat, "--pnat") if pnat else []
    sources = [*(edit.pairs(srcipmap, "--srcipmap") if srcipmap else []), *both]
    targets = [*(edit.pairs(dstipmap, "--dstipmap") if dstipmap else []), *both]
    if endpoints:
        client, colon, server = endpoints.partition(":")
        if not colon:
            raise InputError(f"--endpoints: cannot read {endpoints!r}", expected="ADDRESS:ADDRESS")
        everything = Prefix(0, 0)
        sources.append((everything, Prefix.parse(client)))
        targets.append((everything, Prefix.parse(server)))
    if mtu_trunc and not mtu:
        raise InputError("--mtu-trunc needs the longest packet", expected="--mtu BYTES")
    if dlt == "user" and not user_dlink:
        raise InputError("--dlt user needs a link header", expected="--user-dlink BYTES")
    sides = None
    if cachefile is not None:
        try:
            sides = edit.directions(cachefile.read_bytes(), str(cachefile))
        except OSError as wrong:
            raise InputError(str(wrong.strerror), file=str(cachefile)) from None
    hdlc = None
    if dlt == "hdlc":
        number = edit_link.number
        hdlc = number(hdlc_address, "--hdlc-address", 255), number(hdlc_control, "--hdlc-control", 255)
    link = edit_link.LinkEdits(
        dmac=edit_link.macs(dmac, "--enet-dmac"),
        smac=edit_link.macs(smac, "--enet-smac"),
        swaps=edit_link.swaps(subsmac or ()),
        vlan=vlan,
        tag=tag,
        priority=pri,
        cfi=cfi,
        protocol=proto,
        efcs=efcs,
        header=edit_link.header(user_dlink) if dlt == "user" else b"",
        dlt=edit_link.number(user_dlt, "--user-dlt", 0xFFFF) if user_dlt else -1,
        hdlc=hdlc,
    )
    return edit.Edits(
        link=link,
        sources=sources,
        targets=targets,
        ports=edit.ports(portmap) if portmap else {},
        ttl=edit.ttl(ttl),
        tos=edit_link.number(tos, "--tos", 255) if tos else None,
        mtu=mtu if mtu_trunc else 0,
        fixcsum=fixcsum,
        fixlen=fixlen,
        fixhdrlen=fixhdrlen,
        skip_broadcast=skipbroadcast,
        directions=sides,
    )


REPLAY_HELP = """Replay a capture in the cluster: its hosts become pods, Services, nodes, or hosts outside.

Two modes. stateful: real sockets on both sides speak the recorded payloads, in their sizes and at their times; the server's
half comes from the capture. frames: the recorded packets as they are, with the cluster's addresses. The report states what became
of each packet. Exit status 1: something is not as recorded.
"""
REPLAY_EXAMPLES = examples(
    "emu replay trace.pcap -f shop.yaml -S default/client -D svc/web:80",
    "emu replay trace.pcap -f shop.yaml --map 10.1.2.3=pod/client -o json",
    "emu replay trace.pcap -f shop.yaml -S client -D svc/web --mode frames",
    "emu replay trace.pcap -f shop.yaml --at node-1/eth0",
    "pbpaste | emu replay - -f shop.yaml -S default/client -D svc/web:80",
)


def replay(
    capture: Pcap,
    files: SomeManifests = None,
    client: Annotated[
        str, typer.Option("-S", "--from", "--source", help="Who stands for the clients: NS/POD, node/NAME.")
    ] = "",
    server: Annotated[
        str, typer.Option("-D", "--to", "--destination", help="Who stands for the servers: svc/web:80, NS/POD.")
    ] = "",
    maps: Annotated[
        list[str] | None, typer.Option("--map", metavar="ADDRESS=END", help="Who stands for one address.")
    ] = None,
    mode: Annotated[Mode, typer.Option(help="Payloads by sockets, or the packets as they are.")] = Mode.stateful,
    at: Annotated[
        str,
        typer.Option(metavar="INTERFACE", help="Instead of a mode: this interface receives the frames as they are."),
    ] = "",
    namespace: Namespace = "default",
    form: OutputForm = Form.text,
    show: Annotated[
        int, typer.Option(min=0, help="How many packets the report lists; those that differ come first.")
    ] = 100,
    write: Annotated[str, typer.Option("-w", metavar="FILE|-", help="Write the emulated frames as pcapng.")] = "",
    force: Force = False,
    multiplier: Annotated[float, typer.Option("-x", "--multiplier", min=0.0001, help="So many times as fast.")] = 1.0,
    pps: Annotated[
        float, typer.Option("-p", "--pps", min=0, help="Packets a second, whatever the recorded times.")
    ] = 0,
    topspeed: Annotated[bool, typer.Option("-t", "--topspeed", help="As fast as answers come.")] = False,
    loop: Annotated[int, typer.Option("-l", "--loop", min=1, help="Replay the file so many times.")] = 1,
    limit: Limit = 0,
    maxsleep: Annotated[
        int, typer.Option(min=0, metavar="MS", help="Longer gaps between packets are cut to this.")
    ] = 60_000,
    timeout: Annotated[
        float, typer.Option(min=0, help="How long to wait for what is under way at the end, seconds.")
    ] = 10,
    pnat: Pnat = "",
    srcipmap: SrcMap = "",
    dstipmap: DstMap = "",
    portmap: PortMap = None,
    ttl: Ttl = "",
    tos: Tos = "",
    mtu: Mtu = 0,
    mtu_trunc: MtuTrunc = False,
    fixcsum: FixCsum = True,
    fixlen: FixLenOption = FixLen.none,
    skipbroadcast: SkipBroadcast = False,
    nodes: Nodes = 2,
    network: Network = "bridge",
) -> int:
    from emu.cli.replaying import Asked, replay_file
    from emu.errors import InputError

    if mode is Mode.stateful and not at:
        for value, name in ((ttl, "--ttl"), (tos, "--tos"), (mtu, "--mtu")):
            if value:
                raise InputError(f"{name} edits packets, and sockets make their own", expected="--mode frames, or --at")
    wanted = edits(
        pnat=pnat, srcipmap=srcipmap, dstipmap=dstipmap, portmap=portmap, ttl=ttl, tos=tos, mtu=mtu, mtu_trunc=mtu_trunc,
        fixlen=fixlen.value, skipbroadcast=skipbroadcast,
    )  # fmt: skip
    asked = Asked(
        client,
        server,
        maps or (),
        at,
        mode.value,
        multiplier,
        pps,
        topspeed,
        loop,
        limit,
        maxsleep,
        timeout,
        fixcsum,
        show,
    )
    return replay_file(
        capture, files or (), asked, wanted, namespace=namespace, nodes=nodes, network=network, form=form, write=write,
        force=force,
    )  # fmt: skip


REWRITE_HELP = """Edit a capture into another one, as tcprewrite does, without a cluster.

The result is a pcap with nanoseconds, of the same link type. The options are tcprewrite's.
"""
REWRITE_EXAMPLES = examples(
    "emu rewrite trace.pcap -w out.pcap --pnat 192.168.0.0/16:10.0.0.0/16",
    "emu rewrite trace.pcap -w - --enet-vlan del --fixcsum | tshark -r -",
)


def rewrite(
    capture: Pcap,
    write: Annotated[str, typer.Option("-w", "--outfile", metavar="FILE|-", help="Where the edited capture goes.")],
    force: Force = False,
    limit: Limit = 0,
    pnat: Pnat = "",
    srcipmap: SrcMap = "",
    dstipmap: DstMap = "",
    endpoints: Annotated[
        str, typer.Option("-e", metavar="ADDRESS:ADDRESS", help="The client's and the server's address.")
    ] = "",
    cachefile: Annotated[
        Path | None, typer.Option("-c", help="tcpprep's file: which packets are the client's.")
    ] = None,
    portmap: PortMap = None,
    ttl: Ttl = "",
    tos: Tos = "",
    mtu: Mtu = 0,
    mtu_trunc: MtuTrunc = False,
    fixcsum: FixCsum = False,
    fixlen: FixLenOption = FixLen.none,
    fixhdrlen: FixHdrLen = False,
    skipbroadcast: SkipBroadcast = False,
    enet_dmac: DMac = "",
    enet_smac: SMac = "",
    enet_subsmac: SubsMac = None,
    enet_vlan: VlanOption = Vlan.none,
    enet_vlan_tag: Tag = 0,
    enet_vlan_pri: Pri = 0,
    enet_vlan_cfi: Cfi = 0,
    enet_vlan_proto: Annotated[VlanProto, typer.Option(help="Its EtherType.")] = VlanProto.q,
    efcs: Efcs = False,
    dlt: Annotated[Dlt, typer.Option(help="Another link header: the bytes of --user-dlink, or Cisco HDLC.")] = Dlt.none,
    user_dlink: Annotated[str, typer.Option(metavar="HEX,...", help="With --dlt user: the link header.")] = "",
    user_dlt: Annotated[str, typer.Option(metavar="N", help="With --dlt user: the file's link type.")] = "",
    hdlc_control: Annotated[str, typer.Option(metavar="N", help="With --dlt hdlc: its control byte.")] = "0",
    hdlc_address: Annotated[str, typer.Option(metavar="N", help="With --dlt hdlc: its address byte.")] = "0",
) -> int:
    from emu.cli.replaying import rewrite_file

    wanted = edits(
        pnat=pnat, srcipmap=srcipmap, dstipmap=dstipmap, portmap=portmap, ttl=ttl, tos=tos, mtu=mtu, mtu_trunc=mtu_trunc,
        fixcsum=fixcsum, fixlen=fixlen.value, fixhdrlen=fixhdrlen, skipbroadcast=skipbroadcast, dmac=enet_dmac, smac=enet_smac,
        subsmac=enet_subsmac, vlan=enet_vlan.value, tag=enet_vlan_tag, pri=enet_vlan_pri, cfi=enet_vlan_cfi,
        proto=enet_vlan_proto.value, efcs=efcs, endpoints=endpoints, cachefile=cachefile, dlt=dlt.value, user_dlink=user_dlink,
        user_dlt=user_dlt, hdlc_control=hdlc_control, hdlc_address=hdlc_address,
    )  # fmt: skip
    return rewrite_file(capture, wanted, write, limit=limit, force=force)


def add_to(app: typer.Typer) -> None:
    """Put both commands on the command line."""
    app.command(help=REPLAY_HELP, epilog=REPLAY_EXAMPLES)(replay)
    app.command(help=REWRITE_HELP, epilog=REWRITE_EXAMPLES)(rewrite)
