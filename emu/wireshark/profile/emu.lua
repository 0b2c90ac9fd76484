-- emu's comments as fields of Wireshark: emu.step, emu.nat, emu.rule, emu.route, emu.verdict and so on.
--
-- Why a post-dissector: a comment of several lines is one text to Wireshark, and no column shows a line of it. Several comments
-- on one frame are filtered as easily (frame.comment matches "^route "), but a column can only take the n-th of them, each becomes
-- an expert entry of its own, and older readers show only one. Fields have names that complete, columns and colours, and
-- the files stay as they are. Without this script the profile works too: those columns are empty.
--
-- It reads the lines that emu/capture/words.py makes, and nothing else of emu.

-- A second copy of this script, in another folder of Wireshark's, has nothing to add.
local fresh, emu = pcall(Proto, "emu", "emu: what was decided about the frame")
if not fresh then return end

local text, number = ProtoField.string, ProtoField.uint32
local fields = {
  flow = number("emu.flow", "Flow", base.DEC, nil, nil, "The flow that caused the frame; 0: none"),
  hop = number("emu.hop", "Hop", base.DEC, nil, nil, "Counts the captured frames of the flow, from 1"),
  step = text("emu.step", "Step", base.ASCII, "The story's step: 4, or back 2 on the way back"),
  way = text("emu.way", "Way", base.ASCII, "in, out, drop; in-other: in, for another MAC"),
  sentence = text("emu.sentence", "Sentence"),
  nat = text("emu.nat", "NAT", base.ASCII, "DNAT, SNAT, un-DNAT, un-SNAT"),
  before = text("emu.nat.before", "Before NAT", base.ASCII, "The address and port that NAT replaced"),
  after = text("emu.nat.after", "After NAT", base.ASCII, "The address and port that it put there"),
  table_ = text("emu.table", "Table", base.ASCII, "Whose rules were walked: nat, filter, ..."),
  chain = text("emu.chain", "Chain", base.ASCII, "A chain that was walked"),
  rule = text("emu.rule", "Rule", base.ASCII, "CHAIN rule N: what it did, or its text"),
  policy = text("emu.policy", "Policy", base.ASCII, "TABLE CHAIN VERDICT: no rule decided"),
  networkpolicy = text("emu.networkpolicy", "NetworkPolicy", base.ASCII, "The side of the pod that forbids it, and why"),
  np_direction = text("emu.networkpolicy.direction", "Direction", base.ASCII, "ingress or egress: which side of the pod forbids it"),
  np_pod = text("emu.networkpolicy.pod", "Pod", base.ASCII, "NAMESPACE/NAME of the pod whose policies forbid it"),
  np_name = text("emu.networkpolicy.name", "Policy's name", base.ASCII, "A policy that forbids it: NAMESPACE/NAME, or KIND NAME"),
  np_rule = text("emu.networkpolicy.rule", "Policy's rule", base.ASCII, "The rule that forbids it; none: no rule allows it"),
  tc = text("emu.tc", "Filter program", base.ASCII, "PROGRAM of DEVICE: what it decided by"),
  verdict = text("emu.verdict", "Verdict", base.ASCII, "dropped, rejected or delivered"),
  reason = text("emu.reason", "Reason", base.ASCII, "The kernel's drop reason"),
  place = text("emu.place", "Place", base.ASCII, "Where it was dropped"),
  by = text("emu.by", "By", base.ASCII, "What dropped it"),
  route = text("emu.route", "Route", base.ASCII, "The route that was chosen"),
  ct = text("emu.ct", "Connection", base.ASCII, "The connection's name in conntrack of its node"),
  ct_state = text("emu.ct.state", "Connection's state", base.ASCII, "NEW, or what the frame made it"),
  bridge = text("emu.bridge", "Bridge", base.ASCII, "What the bridge decided"),
  arp = text("emu.arp", "ARP", base.ASCII, "Why it was asked, answered, or waited for"),
  tunnel = text("emu.tunnel", "Tunnel", base.ASCII, "VXLAN or IP in IP, in or out"),
  fact = text("emu.fact", "Fact", base.ASCII, "Every line between the sentence and flow/hop"),
  seq = number("emu.seq", "Sequence number", base.DEC, nil, nil, "Counted from the connection's SYN"),
  ack = number("emu.ack", "Acknowledgement", base.DEC, nil, nil, "Counted from the other side's SYN"),
  again = ProtoField.bool("emu.retransmission", "Retransmission", base.NONE, nil, nil, "The same segment was here before"),
}
emu.fields = fields

local the_comment = Field.new("frame.comment")
local the_interface = Field.new("frame.interface_name")
local the_direction = Field.new("frame.packet_flags_direction")
local the_reception = Field.new("frame.packet_flags_reception_type")
local ip_src, ip_dst = Field.new("ip.src"), Field.new("ip.dst")
local tcp = {
  src = Field.new("tcp.srcport"), dst = Field.new("tcp.dstport"), seq = Field.new("tcp.seq_raw"),
  ack = Field.new("tcp.ack_raw"), flags = Field.new("tcp.flags"), len = Field.new("tcp.len"),
}
local icmp = { type = Field.new("icmp.type"), id = Field.new("icmp.ident"), seq = Field.new("icmp.seq") }

local function last(field)
  local all = { field() }
  return all[#all]
end

-- What a line states: pairs of a field and its value.
local function chains_of(found, path)
  for chain in path:gmatch("[^%s,>]+") do
    if chain ~= "-" then found("chain", chain) end
  end
end

local function nat_of(found, what)
  local kind, half, before, after, conn = what:match("^(%S+) (%a+) (%S+) %-> ([^,]+), ct (.*)$")
  if not kind then return false end
  found("nat", kind)
  found("before", before)
  found("after", after)
  local name = conn:match("^NEW (.*)$")
  if name then found("ct_state", "NEW") end
  found("ct", name or conn)
  return true
end

local function dropped(found, what)
  local reason, rest = what:match("^(%S+) at (.*)$")
  if not reason then return end
  local place, by = rest:match("^(.-) by (.*)$")
  found("verdict", by and by:find("-j REJECT", 1, true) and "rejected" or "dropped")
  found("reason", reason)
  found("place", place or rest)
  if not by then return end
  found("by", by)
  local verdict, tab, chain = by:match("^the policy (%S+) of (%S+) (%S+)$")
  if verdict then
    found("policy", tab .. " " .. chain .. " " .. verdict)
    return
  end
  local program = by:match("^tc (%S+ of .*)$")
  if program then
    found("tc", program)
    return
  end
  local tab2, chain2, rest2 = by:match("^(%S+) (%S+) (rule %d+.*)$")
  if tab2 then
    found("table_", tab2)
    found("chain", chain2)
    found("rule", chain2 .. " " .. rest2)
  end
end

-- What a rule does in one word. Any other word is a chain that it calls.
local ENDS = {
  ACCEPT = true, DROP = true, RETURN = true, REJECT = true, MASQUERADE = true, QUEUE = true, NOTRACK = true, TRACE = true,
  CHECKSUM = true, counted = true, accept = true, drop = true, ["return"] = true, reject = true, masquerade = true, counter = true,
}
local TABLES = {
  raw = true, mangle = true, nat = true, filter = true, security = true, ["kindnet-network-policies"] = true,
}

local function walked(found, line)
  local tab, rest = line:match("^(%S+) (.*)$")
  if not tab then return end
  local base_chain, verdict = rest:match("^(%S+): policy (%S+)$")
  if base_chain then
    found("table_", tab)
    found("chain", base_chain)
    found("policy", tab .. " " .. base_chain .. " " .. verdict)
    return
  end
  local path, count, act = rest:match("^(.-) rule (%d+): (.*)$")
  if path and not path:find(":", 1, true) then
    found("table_", tab)
    chains_of(found, path)
    if act:find("^[%w_:-]+$") and not ENDS[act] then found("chain", act) end
    found("rule", path:match("(%S+)$") .. " rule " .. count .. ": " .. act)
    return
  end
  local walked_chains, what = rest:match("^(.-): (.*)$")
  if not walked_chains or walked_chains:find("%s") and not walked_chains:find("->", 1, true) then return end
  local jumps = what:match("^(.*): no rule there matches$")
  if jumps then
    found("table_", tab)
    chains_of(found, walked_chains .. ", " .. jumps)
  elseif nat_of(found, what) then
    found("table_", tab)
    chains_of(found, walked_chains)
  end
end

local function forbidden(found, what)
  found("networkpolicy", what)
  local way, pod, why = what:match("^(%a+) of (%S+): (.*)$")
  if not way then return end
  found("np_direction", way)
  found("np_pod", pod)
  local names = why:match("^isolated by (.*), no rule allows$")
  if names then
    for name in names:gmatch("[^, ]+") do found("np_name", name) end
    found("np_rule", "none")
    return
  end
  local name, rule = why:match("^(.-) (%a+gress%[.*%]%S*)")
  if name then
    found("np_name", name)
    found("np_rule", rule)
  end
end

local STARTS = {
  { "^nat: (.*)$", nat_of },
  { "^dropped (.*)$", dropped },
  { "^route (.*)$", function(found, what) found("route", what) end },
  { "^delivered to ", function(found) found("verdict", "delivered") end },
  { "^rule (%d+ of .*)$", function(found, what)
    local count, chain, spec = what:match("^(%d+) of (%S+): (.*)$")
    if count then found("rule", chain .. " rule " .. count .. ": " .. spec) end
  end },
  { "^ct (.*)$", function(found, what)
    local name, state = what:match("^(%S+#%d+) is (%S+)$")
    local fresh = what:match("^NEW (%S+)$")
    if name or fresh then found("ct", name or fresh) end
    found("ct_state", state or fresh and "NEW" or what)
  end },
  { "^policy (%a+ of .*)$", forbidden },
  { "^tc (%S+ of .*)$", function(found, what) found("tc", what) end },
  { "^bridge (.*)$", function(found, what) found("bridge", what) end },
  { "^arp (.*)$", function(found, what) found("arp", what) end },
  { "^waited for ARP: (.*)$", function(found, what) found("arp", "waited for " .. what) end },
  { "^(vxlan .*)$", function(found, what) found("tunnel", what) end },
  { "^(ipip .*)$", function(found, what) found("tunnel", what) end },
}

local function stated(found, line)
  for _, each in ipairs(STARTS) do
    local what = line:match(each[1])
    if what then return each[2](found, what) end
  end
  local first = line:match("^(%S+) ")
  -- an nftables table has its family before it
  if first == "ip" or first == "inet" then return walked(found, line:match("^%S+ (.*)$")) end
  if TABLES[first] then walked(found, line) end
end

local function comment_of(found, comment)
  local lines = {}
  for line in comment:gmatch("[^\n]+") do lines[#lines + 1] = line end
  local flow, hop = (lines[#lines] or ""):match("^flow/hop (%d+)/(%d+)")
  if not flow then return false end
  found("flow", tonumber(flow))
  found("hop", tonumber(hop))
  local step, sentence = lines[1]:match("^%(([%w, ]+)%) (.*)$")
  for each in (step or ""):gmatch("[^,]+") do found("step", each:match("^%s*(.*)$")) end
  found("sentence", sentence or lines[1])
  for at = 2, #lines - 1 do
    found("fact", lines[at])
    stated(found, lines[at])
  end
  if #lines == 2 and lines[1]:find("^dropped ") then stated(found, lines[1]) end
  return true
end

-- Sequence numbers. One segment is in a file once for each interface, so Wireshark's own analysis would call it a
-- retransmission; it is off, and with it relative numbers. Here they count from the SYN of the same addresses and ports.
local firsts, seen, kept, replies = {}, {}, {}, {}

function emu.init()
  firsts, seen, kept, replies = {}, {}, {}, {}
end

local function segment(frame, place)
  local seq = last(tcp.seq)
  if not seq or icmp.type() then return nil end
  local src, dst = tostring(last(ip_src)), tostring(last(ip_dst))
  local there = src .. ":" .. last(tcp.src).value .. ">" .. dst .. ":" .. last(tcp.dst).value
  local back = dst .. ":" .. last(tcp.dst).value .. ">" .. src .. ":" .. last(tcp.src).value
  local flags, len = last(tcp.flags).value, last(tcp.len)
  local opens = flags % 4 >= 2
  if opens or not firsts[there] then firsts[there] = seq.value end
  local size = len and len.value or 0
  local again = false
  if size > 0 or opens or flags % 2 == 1 then
    local key = place .. " " .. there .. " " .. seq.value .. " " .. size .. " " .. flags % 4
    again = seen[key] ~= nil
    seen[key] = frame
  end
  return { seq = (seq.value - firsts[there]) % 2 ^ 32, first = firsts[there], other = firsts[back], again = again }
end

local function renumbered(shown, one)
  shown = shown:gsub("Seq=(%d+)", function(value) return "Seq=" .. string.format("%d", (tonumber(value) - one.first) % 2 ^ 32) end)
  if one.other then
    shown = shown:gsub("(%u%u?%l?%l?)=(%d+)", function(word, value)
      if word ~= "Ack" and word ~= "SLE" and word ~= "SRE" then return nil end
      return word .. "=" .. string.format("%d", (tonumber(value) - one.other) % 2 ^ 32)
    end)
  end
  return shown
end

-- A ping's answer is looked for on the ping's own interface: Wireshark looks for one answer to all of its copies.
local function echo()
  local kind, id, seq = icmp.type(), icmp.id(), icmp.seq()
  if not kind or not id or not seq then return nil end
  local src, dst = tostring(ip_src()), tostring(ip_dst())
  if kind.value == 0 then return dst .. ">" .. src .. " " .. id.value .. "/" .. seq.value, true end
  if kind.value == 8 then return src .. ">" .. dst .. " " .. id.value .. "/" .. seq.value, false end
end

function emu.dissector(tvb, pinfo, tree)
  local comment = the_comment()
  if not comment then return end
  local root
  local function found(name, value)
    if not root then root = tree:add(emu) end
    root:add(fields[name], value):set_generated()
  end
  if not comment_of(found, comment.value) then return end

  local interface, direction, reception = the_interface(), the_direction(), the_reception()
  local name = interface and interface.value or ""
  local way = "drop"
  if direction and direction.value == 2 then
    way = "out"
  elseif direction and direction.value == 1 then
    way = reception and reception.value == 4 and "in-other" or "in"
  end
  found("way", way)

  local frame = pinfo.number
  if kept[frame] == nil then  -- fields are there in the first pass or, where no column or filter asks for them, later
    kept[frame] = segment(frame, name .. " " .. way) or false
    local asked, answered = echo()
    if answered then replies[name .. " " .. asked] = true end
  end
  local one = kept[frame]
  if one then
    found("seq", one.seq)
    local ack = last(tcp.ack)
    if ack and one.other and last(tcp.flags).value % 32 >= 16 then found("ack", (ack.value - one.other) % 2 ^ 32) end
    if one.again then found("again", true) end
  end

  local shown = tostring(pinfo.cols.info)
  local wanted = shown
  if one then
    wanted = renumbered(shown, one)
    if one.again then wanted = "[Retransmission here] " .. wanted end
  elseif shown:find("(no response found!)", 1, true) then
    local asked, answered = echo()
    if asked and not answered and replies[name .. " " .. asked] then wanted = shown:gsub(" %(no response found!%)", "") end
  end
  if wanted ~= shown then
    pinfo.cols.info:clear_fence()
    pinfo.cols.info:set(wanted)
  end
end

register_postdissector(emu, true)
