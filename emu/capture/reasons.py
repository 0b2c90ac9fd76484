"""Why a frame ends, as sentences: the kernel's drop reasons, and those of a cloud's network. Must not know frames."""

from __future__ import annotations

from collections.abc import Mapping

# the kernel's drop reasons (include/net/dropreason-core.h) as sentences; others are shown by their names
REASONS: Mapping[str, str] = {
    "NETFILTER_DROP": "a rule drops it",
    "NEIGH_FAILED": "no host answers ARP for the next hop",
    "FRAG_TOO_FAR": "too many fragments of other datagrams came between it and the next one",
    "NEIGH_CREATEFAIL": "the machine's table of neighbours is full",
    "QUEUE_PURGE": "the queue that it waited in was emptied",
    "NEIGH_QUEUEFULL": "too many packets wait for ARP",
    "NO_SOCKET": "no socket is open for it",
    "IP_OUTNOROUTES": "there is no route to its destination",
    "IP_INNOROUTES": "there is no route to its destination",
    "IP_INADDRERRORS": "it is for another host, and forwarding is off here",
    "IP_INHDR": "its time to live is used up, or its header is wrong",
    "IP_CSUM": "its IP header checksum is wrong",
    "TCP_CSUM": "its TCP checksum is wrong",
    "UDP_CSUM": "its UDP checksum is wrong",
    "ICMP_CSUM": "its ICMP checksum is wrong",
    "IP_RPFILTER": "the route back to its source uses another interface (rp_filter)",
    "IP_LOCAL_SOURCE": "its source is an address of this namespace itself",
    "IP_LOCALNET": "a loopback address came in from outside",
    "IP_NOPROTO": "its IP protocol is not served here",
    "PKT_TOO_BIG": "it is too long for the link",
    "QDISC_DROP": "the link lost it",
    "TC_INGRESS": "a filter where it came in drops it",
    "TC_EGRESS": "a filter at its way out drops it",
    "DEV_READY": "the interface is down",
    "BRIDGE_INGRESS_STP_STATE": "the bridge port does not forward yet",
    "NO_TX_TARGET": "no port of the bridge may send it (the one that it came in by may not, while hairpin mode is off)",
    "SOCKET_RCVBUFF": "the socket's buffer is full",
    "TCP_LISTEN_OVERFLOW": "the listener's queue is full",
    "VXLAN_VNI_NOT_FOUND": "no VXLAN device here has its network identifier (VNI)",
    "VXLAN_INVALID_HDR": "its VXLAN header is wrong",
    "VXLAN_ENTRY_EXISTS": "its source MAC is set to be behind another host",
    "LOCAL_MAC": "its source MAC is that of the receiving device",
    "MAC_INVALID_SOURCE": "its source MAC is no device's",
    "IP_TUNNEL_ECN": "the outer packet met congestion, and the inner one does not know ECN",
    "UNHANDLED_PROTO": "its Ethernet type is not served here",
    "ICMP_ECHO_IGNORED": "echo requests are ignored here",
    "IPV6DISABLED": "IPv6 is off here",
    "INVALID_PROTO": "ICMP to a broadcast address is not answered here",
    # a VPC has no reasons of the kernel (emu/kube/underlay/vpc)
    "SOURCE_DEST_CHECK": "the interface may only send and receive what is from or for its own addresses",
    "SECURITY_GROUP": "no rule of the interface's security groups allows it",
    "NETWORK_ACL": "the network ACL of the subnet denies it",
    "NO_VPC_ROUTE": "the subnet's route table has no route to its destination",
    "NO_INTERFACE": "no network interface has its destination",
    "NO_PUBLIC_ADDRESS": "the internet gateway translates no such address",
    "NO_MULTICAST": "a VPC carries neither broadcast nor multicast",
    # emu's own
    "UNDECIDED": "a rule or a route uses what emu does not model, so that a kernel's decision is not known",
}
