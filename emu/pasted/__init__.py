"""What people paste of a node, read as its commands would write it: shells' prompts, quotes and other shapes go.

`rules` gives iptables-save's text, `ip_text` what `ip -j` prints, `connections` the entries of `conntrack -L`. Each line
keeps its number for messages. Must not know what a packet does with any of it.
"""
