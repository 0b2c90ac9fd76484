"""A capture of Retina made of a node's dump: the files that its `CollectMetadata` writes, with heads and failures as there, beside a pcap."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

from emu.pasted.ip_text import objects
from node_dumps_made import Dumped

SBIN = "/usr/sbin"


def retina_of(made: Dumped) -> dict[str, str]:
    """Path in the capture -> text."""
    found = {
        "ip-resources.txt": _sections({
            "ip -d -j addr show": json.dumps([{}, *objects("addr", made["ip-addr"])]) + "\n",
            "ip -d -j neighbor show": json.dumps(objects("neigh", made["ip-neigh"])) + "\n",
            "ip rule list": made["ip-rule"],
            "ip route show table all": made["ip-route"] + "fe80::/64 dev eth0 proto kernel metric 256 pref medium\n",
        }),
        "iptables-rules.txt": _sections({
            "iptables-save": made["iptables-save"],
            "iptables -vnx -L": "",
            "iptables -vnx -L -t nat": "Chain PREROUTING (policy DROP 0 packets, 0 bytes)\n",
            "iptables -vnx -L -t mangle": "",
        }),
        "socket-stats.txt": _sections({"ss -s": "Total: 180\n", "ss -tapionume": ""}),
        "proc-net/nf_conntrack": "".join(f"ipv4     2 {line}\n" for line in made["conntrack"].splitlines()),
        "proc-net/stat/nf_conntrack": "entries  clashres\n00000000  00000000\n",
        "proc-net/route": "Iface\tDestination\n",
        "cap-node-1-20260101000000UTC.pcap": "",
        "tcpdump.log": "tcpdump: listening on any\n",
    }  # fmt: skip
    for line in made["sysctl"].splitlines():
        name, _, value = line.partition(" = ")
        parts = name.split("/" if "/" in name else ".")
        if parts[0] == "net":
            found["/".join(["proc-sys-net", *parts[1:]])] = f"{value}\n"
    return found


def _sections(commands: dict[str, str]) -> str:
    """One file; a command without output has failed."""
    listed = "".join(f"{SBIN}/{command}(what it shows)\n" for command in commands)
    outputs = [
        f"{SBIN}/{command}\n\n" + (output or f'Failed to run "{SBIN}/{command}", error: exit status 4)')
        for command, output in commands.items()
    ]
    return f"Summary:\n\n{listed}\nExecute:\n\n{''.join(outputs)}"


def write_folder(files: dict[str, str], folder: Path) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def write_tar(files: dict[str, str], target: Path) -> Path:
    """A tar as `compressFolderToTarGz` writes it: paths from the capture's folder on."""
    folder = write_folder(files, target.with_suffix(".d"))
    with tarfile.open(target, "w:gz") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name)
    return target
