"""Rules with each option that lists of rules print, for the comparison with what `iptables -L` prints of them."""

from __future__ import annotations

SETS = "create s1 hash:ip,port\n"
RULES = """\
*mangle
:X - [0:0]
-A PREROUTING -i eth0 -p tcp -m tcp --sport 1000:2000 --dport 80 --tcp-flags FIN,SYN,RST,ACK SYN -j MARK --set-xmark 0x1/0xffffffff
-A PREROUTING ! -i eth+ -p tcp -m tcp --tcp-option 5 -j MARK --set-xmark 0x0/0x4000
-A PREROUTING -j MARK --set-xmark 0x4000/0x0
-A PREROUTING -p tcp -m tcp ! --dport 80 -j MARK --set-xmark 0x4000/0x4000
-A PREROUTING -m mark --mark 0x4000/0x4000 -j MARK --set-xmark 0x1/0xff
-A PREROUTING -m mark ! --mark 0x5 -j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0x80
-A PREROUTING -m connmark --mark 0x80/0x80 -j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff
-A PREROUTING -p udp -m udp ! --sport 5:6 -m ttl --ttl-lt 5 -j TTL --ttl-set 64
-A PREROUTING -m dscp --dscp 0x10 -j DSCP --set-dscp 0x0a
-A PREROUTING -m tos --tos 0x10/0x3f -j TOS --set-tos 0x10/0x3f
-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -m tcpmss --mss 1400:1500 -j TCPMSS --set-mss 1300
-A FORWARD -m length --length 10:20 -m pkttype --pkt-type broadcast -j X
-A FORWARD -m length ! --length 10 -g X
-A FORWARD -f -m mac --mac-source 00:11:22:33:44:55 -j X
-A FORWARD -p icmp -m icmp --icmp-type 8 -j X
-A FORWARD -p icmp -m icmp --icmp-type 3/4 -j X
-A FORWARD -p icmp -m icmp ! --icmp-type 8/0 -j X
-A FORWARD -p icmp -m icmp --icmp-type any -j X
-A FORWARD -m physdev --physdev-in veth0 --physdev-is-bridged -j ACCEPT
-A FORWARD -m physdev ! --physdev-is-in
COMMIT
*raw
-A PREROUTING -m rpfilter --validmark --invert -j DROP
-A PREROUTING -m addrtype --dst-type LOCAL -j CT --notrack
COMMIT
*filter
:INPUT DROP [0:0]
:KUBE-X - [0:0]
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -m conntrack ! --ctstate INVALID,NEW -j ACCEPT
-A INPUT -m state --state NEW -j ACCEPT
-A INPUT -m conntrack --ctstate DNAT -j ACCEPT
-A INPUT -m conntrack --ctorigdst 10.0.0.1/32 --ctdir ORIGINAL -j ACCEPT
-A INPUT -m conntrack --ctstatus ASSURED,CONFIRMED --ctproto 6 -j ACCEPT
-A INPUT -m comment --comment "a \\"quoted\\" comment" -j KUBE-X
-A INPUT ! -s 10.0.0.0/8 -d 10.1.0.1/32 -j REJECT --reject-with icmp-port-unreachable
-A INPUT -p tcp -j REJECT --reject-with tcp-reset
-A INPUT -p tcp -m multiport --dports 80,443,1000:2000 -j DROP
-A INPUT -p tcp -m multiport ! --sports 80 -j DROP
-A INPUT -p udp -m multiport --ports 80,90 -j DROP
-A INPUT -m limit --limit 5/min --limit-burst 7 -j LOG --log-prefix "my log: " --log-level 6 --log-tcp-options
-A INPUT -m limit --limit 10/sec -j NFLOG --nflog-prefix "nf " --nflog-group 5
-A INPUT -m iprange --src-range 10.0.0.1-10.0.0.5 ! --dst-range 10.1.0.1-10.1.0.9
-A OUTPUT -m owner --uid-owner 1337
-A OUTPUT -m owner --uid-owner 1337 ! --gid-owner 5 -j RETURN
-A OUTPUT -m addrtype ! --dst-type LOCAL,UNICAST -j RETURN
-A OUTPUT -m addrtype --src-type LOCAL ! --dst-type BROADCAST
-A OUTPUT -m statistic --mode random --probability 0.33333333349 -j KUBE-X
-A OUTPUT -m statistic --mode random ! --probability 0.5 -j KUBE-X
-A OUTPUT -m statistic --mode nth --every 3 --packet 1 -j KUBE-X
-A OUTPUT -m recent --set --name DEFAULT --mask 255.255.255.255 --rsource
-A OUTPUT -m recent --rcheck --seconds 10800 --reap --name KUBE-SEP-A --mask 255.255.255.255 --rsource -j KUBE-X
-A OUTPUT -m recent ! --update --seconds 60 --hitcount 4 --name ssh --mask 255.255.255.255 --rdest -j KUBE-X
-A OUTPUT -p sctp -m sctp --dport 5
-A OUTPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE
-A OUTPUT -p 99 -j ACCEPT
-A OUTPUT ! -p tcp -j ACCEPT
-A OUTPUT -m set --match-set s1 dst,src -j SET --add-set s1 src --exist
-A OUTPUT -m set ! --match-set s1 src
COMMIT
*nat
-A PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.1:8080
-A PREROUTING -j DNAT --to-destination 10.0.0.1-10.0.0.5 --persistent
-A PREROUTING -p tcp -j DNAT --to-destination :80
-A PREROUTING -p tcp -j DNAT --to-destination 10.0.0.1:80-90 --random
-A PREROUTING -p tcp -j REDIRECT --to-ports 15001
-A PREROUTING -p tcp -j REDIRECT
-A PREROUTING -d 10.0.0.0/24 -j NETMAP --to 10.1.0.0/24
-A POSTROUTING -j MASQUERADE --random-fully
-A POSTROUTING -p tcp -j MASQUERADE --to-ports 1024-65535
-A POSTROUTING ! -o eth0 -j SNAT --to-source 1.2.3.4 --random-fully
-A POSTROUTING -j RETURN
COMMIT
"""
