// Bytes to layers and fields. Knows no interface and no flow.

const hex2 = n => n.toString(16).padStart(2, "0");
const hex4 = n => "0x" + n.toString(16).padStart(4, "0");
const decoded = base64 => Uint8Array.from(atob(base64), c => c.charCodeAt(0));

// A packet's first sight is whole, the later ones are patches of the sight before.
function frameBytes(frame, before) {
  let data = frame.b ? decoded(frame.b) : before.get(frame.p);
  if (frame.d) {
    data = data.slice();
    for (const [at, hex] of frame.d)
      for (let i = 0; i < hex.length; i += 2) data[at + i / 2] = parseInt(hex.slice(i, i + 2), 16);
  }
  before.set(frame.p, data);
  return data;
}

const mac = (d, o) => [...d.slice(o, o + 6)].map(hex2).join(":");
const ip = (d, o) => [...d.slice(o, o + 4)].join(".");
const u16 = (d, o) => d[o] << 8 | d[o + 1];
const u24 = (d, o) => d[o] << 16 | d[o + 1] << 8 | d[o + 2];
const u32 = (d, o) => d[o] * 2 ** 24 + u24(d, o + 1);
const ETHERTYPES = {0x800: "IPv4", 0x806: "ARP", 0x86dd: "IPv6"};
const PROTOCOLS = {1: "ICMP", 4: "IP in IP", 6: "TCP", 17: "UDP"};
const FLAGS = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
const ICMP = {
  "8": "echo request", "0": "echo reply", "3.0": "network unreachable", "3.1": "host unreachable",
  "3.2": "protocol unreachable", "3.3": "port unreachable", "3.4": "fragmentation needed",
  "3.9": "network prohibited", "3.10": "host prohibited", "3.13": "communication prohibited",
  "5.0": "redirect for a network", "5.1": "redirect for a host", "11.0": "time to live exceeded",
  "11.1": "reassembly time exceeded",
};
const icmpWord = (type, code) => ICMP[`${type}.${code}`] || ICMP[type] || "";
const VXLAN_PORTS = new Set([8472, 4789]);

// A frame as layers, outermost first: {name, note, at, fields: [{name, at, len, value, who}]}.
// `who` names which table names the value: "ip", "mac" or nothing. From `start` on: 0, or behind the Ethernet header for an interface
// that has none.
const ETHERNET_BYTES = 14;
function layers(d, start = 0) {
  const found = [];
  start ? ipv4(d, start, found, "") : ethernet(d, 0, found, "");
  return found;
}

function layer(found, name, note = "") {
  const made = {name, note, fields: []};
  found.push(made);
  return (field, at, len, value, who) => { made.fields.push({name: field, at, len, value: String(value), who}); return made; };
}

function ethernet(d, o, found, prefix) {
  if (d.length < o + 14) return payload(d, o, d.length, found);
  const field = layer(found, prefix + "Ethernet"), type = u16(d, o + 12);
  field("to", o, 6, mac(d, o), "mac");
  field("from", o + 6, 6, mac(d, o + 6), "mac");
  field("type", o + 12, 2, `${hex4(type)} ${ETHERTYPES[type] || ""}`.trim());
  if (type === 0x806) arp(d, o + 14, found, prefix);
  else if (type === 0x800) ipv4(d, o + 14, found, prefix);
  else payload(d, o + 14, d.length, found);
}

function arp(d, o, found, prefix) {
  if (d.length < o + 28) return payload(d, o, d.length, found);
  const request = u16(d, o + 6) === 1, field = layer(found, prefix + "ARP", request ? "request" : "reply");
  field("operation", o + 6, 2, request ? "1 who-has" : "2 is-at");
  field("sender MAC", o + 8, 6, mac(d, o + 8), "mac");
  field("sender IP", o + 14, 4, ip(d, o + 14), "ip");
  field("target MAC", o + 18, 6, mac(d, o + 18), "mac");
  field("target IP", o + 24, 4, ip(d, o + 24), "ip");
}

function ipv4(d, o, found, prefix) {
  if (d.length < o + 20 || d[o] >> 4 !== 4) return payload(d, o, d.length, found);
  const size = (d[o] & 15) * 4, protocol = d[o + 9], fragment = u16(d, o + 6);
  const field = layer(found, prefix + "IPv4", `${size} bytes`);
  const flags = [fragment & 0x4000 && "DF", fragment & 0x2000 && "MF", fragment & 0x1fff && `offset ${(fragment & 0x1fff) * 8}`];
  field("source", o + 12, 4, ip(d, o + 12), "ip");
  field("destination", o + 16, 4, ip(d, o + 16), "ip");
  field("TTL", o + 8, 1, d[o + 8]);
  field("id, flags", o + 4, 4, [u16(d, o + 4), ...flags.filter(Boolean)].join(", "));
  field("protocol", o + 9, 1, `${protocol} ${PROTOCOLS[protocol] || ""}`.trim());
  field("length", o + 2, 2, u16(d, o + 2));
  field("checksum", o + 10, 2, hex4(u16(d, o + 10)));
  if (d[o + 1]) field("DSCP/ECN", o + 1, 1, "0x" + hex2(d[o + 1]));
  if (size > 20) field("options", o + 20, size - 20, [...d.slice(o + 20, o + size)].map(hex2).join(" "));
  const next = o + size, end = Math.min(d.length, o + u16(d, o + 2));
  if (fragment & 0x1fff) payload(d, next, end, found);
  else if (protocol === 6 && d.length >= next + 20) tcp(d, next, end, found, prefix);
  else if (protocol === 17 && d.length >= next + 8) udp(d, next, end, found, prefix);
  else if (protocol === 1 && d.length >= next + 8) icmp(d, next, end, found, prefix);
  else if (protocol === 4) ipv4(d, next, found, "inner ");
  else payload(d, next, end, found);
}

function tcp(d, o, end, found, prefix) {
  const flags = FLAGS.filter((_, bit) => d[o + 13] >> bit & 1).join(", "), size = (d[o + 12] >> 4) * 4;
  const field = layer(found, prefix + "TCP", flags);
  field("source port", o, 2, u16(d, o));
  field("dest. port", o + 2, 2, u16(d, o + 2));
  field("seq", o + 4, 4, u32(d, o + 4));
  field("ack", o + 8, 4, u32(d, o + 8));
  field("flags", o + 13, 1, flags || "none");
  field("window", o + 14, 2, u16(d, o + 14));
  field("checksum", o + 16, 2, hex4(u16(d, o + 16)));
  if (size > 20) field("options", o + 20, size - 20, tcpOptions(d.slice(o + 20, o + size)));
  payload(d, o + size, end, found);
}

function udp(d, o, end, found, prefix) {
  const field = layer(found, prefix + "UDP");
  field("source port", o, 2, u16(d, o));
  field("dest. port", o + 2, 2, u16(d, o + 2));
  field("length", o + 4, 2, u16(d, o + 4));
  field("checksum", o + 6, 2, hex4(u16(d, o + 6)));
  if (VXLAN_PORTS.has(u16(d, o + 2)) && d.length >= o + 16) {
    layer(found, "VXLAN")("VNI", o + 12, 3, u24(d, o + 12));
    ethernet(d, o + 16, found, "inner ");
  } else payload(d, o + 8, end, found);
}

function icmp(d, o, end, found, prefix) {
  const word = icmpWord(d[o], d[o + 1]), field = layer(found, prefix + "ICMP", word);
  field("type, code", o, 2, `${d[o]}, ${d[o + 1]} ${word}`.trim());
  field("checksum", o + 2, 2, hex4(u16(d, o + 2)));
  if (d[o] === 8 || d[o] === 0) {
    field("id, seq", o + 4, 4, `${u16(d, o + 4)}, ${u16(d, o + 6)}`);
    payload(d, o + 8, end, found);
  } else {
    if (d[o] === 3 && d[o + 1] === 4) field("next MTU", o + 6, 2, u16(d, o + 6));
    ipv4(d, o + 8, found, "quoted ");
  }
}

const CONTROL = {10: "\\n", 13: "\\r", 9: "\\t"};
const printable = c => c >= 32 && c < 127 ? String.fromCharCode(c) : CONTROL[c] || "·";
function payload(d, start, end, found) {
  if (end > start) layer(found, "Data", `${end - start} bytes`)("text", start, end - start, short([...d.slice(start, end)].map(printable).join(""), 200));
}

function tcpOptions(o) {
  const out = [];
  for (let i = 0; i < o.length && o[i];) {
    if (o[i] === 1) { i++; continue; }
    const kind = o[i];
    out.push(
      kind === 2 ? `MSS ${u16(o, i + 2)}` : kind === 3 ? `wscale ${o[i + 2]}` : kind === 4 ? "SACK ok"
        : kind === 5 ? "SACK" : kind === 8 ? `TS ${u32(o, i + 2)}/${u32(o, i + 6)}` : `option ${kind}`);
    i += o[i + 1] || 2;
  }
  return out.join(", ");
}

// What a frame is in two words, and its ends: {word, arp, ask, src, dst, sport, dport, ttl}.
function brief(d) {
  const type = u16(d, 12), o = ETHERNET_BYTES;
  if (type === 0x806)
    return {word: "ARP", arp: true, ask: u16(d, 20) === 1 ? `who has ${ip(d, 38)}?` : `${ip(d, 28)} is here`};
  if (type !== 0x800) return {word: "frame", ask: hex4(type), src: mac(d, 6), dst: mac(d, 0)};
  const next = o + (d[o] & 15) * 4, protocol = d[o + 9];
  const ends = {src: ip(d, o + 12), dst: ip(d, o + 16), ttl: d[o + 8]}, ports = {sport: u16(d, next), dport: u16(d, next + 2)};
  if (u16(d, o + 6) & 0x1fff) return {word: "fragment", ...ends};
  if (protocol === 6) {
    const flags = d[next + 13], size = u16(d, o + 2) - (next - o) - (d[next + 12] >> 4) * 4;
    const word = flags & 4 ? "RST" : flags & 2 ? (flags & 16 ? "SYN ACK" : "SYN") : flags & 1 ? "FIN" : size ? `${size} bytes` : "ACK";
    return {word, ...ends, ...ports};
  }
  if (protocol === 17) return {word: VXLAN_PORTS.has(ports.dport) ? "VXLAN" : "UDP", ...ends, ...ports};
  if (protocol === 1) return {word: icmpWord(d[next], d[next + 1]) || "ICMP", ...ends};
  return {word: PROTOCOLS[protocol] || `IP ${protocol}`, ...ends};
}
