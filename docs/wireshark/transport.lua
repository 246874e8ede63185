-- Reliable UDP of `transport` for Wireshark and tshark, version 1 of the wire format; docs/protocol.md has the layout.
--
-- Install: copy it into the folder that Help > About > Folders calls "Personal Lua Plugins"; or, once,
--   tshark -X lua_script:docs/wireshark/transport.lua -r capture.pcap
--
-- Packets are recognised by themselves: those of the handshake by their version and checksum, others by a checksum
-- that fits, or by a handshake that was seen. Where neither helps (no checksum was agreed and the capture begins in the
-- middle), use Decode As on the UDP port. Each packet is read by itself: numbers are shown as they stand on the wire,
-- cut to their lowest bytes.

local proto = Proto("trudp", "Reliable UDP (transport)")

local VERSION = 0x74720001
local STREAM_CHANNEL = 256
local LONG_HEAD, CHECKSUM, TOKEN = 21, 4, 16
local SHORT_MIN = 11
local RANGES_MAX, SKIPS_MAX, REASON_MAX = 32, 32, 256

local KINDS = {[0] = "HELLO", [1] = "RETRY", [2] = "ACCEPT", [3] = "REFUSE"}
local FRAMES = {
  [0] = "PAD", [1] = "PING", [2] = "ACK", [3] = "ACK_ECN", [4] = "ACK_POLICY", [5] = "SKIP", [6] = "CONNECTION_CREDIT",
  [7] = "CHANNEL_CREDIT", [8] = "BLOCKED", [9] = "PATH_CHALLENGE", [10] = "PATH_RESPONSE", [11] = "NEW_CID",
  [12] = "RETIRE_CID", [14] = "CLOSE",
}
for kind = 128, 255 do FRAMES[kind] = "MSG" end
local DELIVERIES = {
  [0] = "reliable, ordered", [1] = "reliable, unordered", [2] = "unreliable, sequenced", [3] = "unreliable",
}
local STREAMS = {
  [6] = "STREAM_OPEN", [7] = "STREAM_DATA", [8] = "STREAM_END", [9] = "STREAM_RESET", [10] = "STREAM_CREDIT",
}
local CODES = {
  [0] = "NORMAL", [1001] = "GOING_AWAY", [1002] = "PROTOCOL_ERROR", [1006] = "LOST", [1007] = "INVALID_BODY",
  [1008] = "POLICY", [1009] = "TOO_LARGE", [1011] = "INTERNAL_ERROR", [1013] = "OVERLOADED",
  [1101] = "HANDSHAKE_TIMEOUT", [1102] = "IDLE_TIMEOUT", [1103] = "FLOW_CONTROL", [1104] = "CODEC_MISMATCH",
}
-- id: name, and how the value is read: a number, text, or bytes
local PARAMETERS = {
  [1] = {"max_ack_delay_us", "number"}, [2] = {"idle_ms", "number"}, [3] = {"max_datagram", "number"},
  [4] = {"connection_window", "number"}, [5] = {"channel_window", "number"}, [6] = {"max_message", "number"},
  [7] = {"channels", "number"}, [8] = {"checksums", "number"}, [9] = {"codec", "text"},
  [10] = {"reset_token", "bytes"}, [11] = {"stream_window", "number"},
}

local f = {}
local function field(name, maker, label, ...)
  f[name] = maker("trudp." .. name:gsub("__", "."), label, ...)
end

field("packet", ProtoField.string, "Packet")
field("flags", ProtoField.uint8, "Flags", base.HEX)
field("flags__form", ProtoField.uint8, "Form", base.DEC, {[1] = "SHORT", [3] = "LONG"}, 0xc0)
field("flags__kind", ProtoField.uint8, "Kind", base.DEC, KINDS, 0x30)
field("flags__copies", ProtoField.bool, "Has copies of messages", 8, {"yes", "no"}, 0x10)
field("flags__number_bytes", ProtoField.uint8, "Bytes of the number, less 1", base.DEC, nil, 0x03)
field("version", ProtoField.uint32, "Version", base.HEX)
field("cid", ProtoField.bytes, "Connection id", base.NONE)
field("dcid", ProtoField.bytes, "Connection id of the receiver", base.NONE)
field("scid", ProtoField.bytes, "Connection id of the sender", base.NONE)
field("number", ProtoField.uint32, "Number (lowest bytes)")
field("checksum", ProtoField.uint32, "Checksum", base.HEX)
field("checksum__kind", ProtoField.string, "Kind of checksum")
field("checksum__status", ProtoField.string, "Checksum is")
field("cookie_length", ProtoField.uint64, "Length of the cookie")
field("cookie", ProtoField.bytes, "Cookie", base.NONE)
field("parameters_length", ProtoField.uint64, "Length of the parameters")
field("parameter", ProtoField.none, "Parameter")
field("parameter__id", ProtoField.uint64, "Id")
field("parameter__length", ProtoField.uint64, "Length")
field("parameter__value", ProtoField.bytes, "Value", base.NONE)
for _, entry in pairs(PARAMETERS) do
  local maker = entry[2] == "number" and ProtoField.uint64 or entry[2] == "text" and ProtoField.string
    or ProtoField.bytes
  f["parameter__" .. entry[1]] = maker("trudp.parameter." .. entry[1], entry[1])
end
field("code", ProtoField.uint64, "Code", base.DEC)
field("reason_length", ProtoField.uint64, "Length of the reason")
field("reason", ProtoField.string, "Reason", base.UNICODE)
field("versions_count", ProtoField.uint64, "Versions listed")
field("listed_version", ProtoField.uint32, "Version", base.HEX)
field("padding", ProtoField.bytes, "Padding", base.NONE)
field("noise", ProtoField.bytes, "Noise", base.NONE)
field("token", ProtoField.bytes, "Token", base.NONE)
field("undecoded", ProtoField.bytes, "Not decoded", base.NONE)
field("frame", ProtoField.none, "Frame")
field("frame__type", ProtoField.uint8, "Type", base.HEX, FRAMES)
field("frame__name", ProtoField.string, "Name")
field("pad__count", ProtoField.uint32, "Times")
field("ack__largest", ProtoField.uint64, "Largest")
field("ack__delay", ProtoField.uint64, "Delay (8 us)")
field("ack__delay_us", ProtoField.uint64, "Delay (us)")
field("ack__count", ProtoField.uint64, "Further ranges")
field("ack__first_run", ProtoField.uint64, "First run")
field("ack__gap", ProtoField.uint64, "Gap")
field("ack__run", ProtoField.uint64, "Run")
field("ack__range", ProtoField.string, "Range")
field("ack__ect0", ProtoField.uint64, "ECT(0)")
field("ack__ect1", ProtoField.uint64, "ECT(1)")
field("ack__ce", ProtoField.uint64, "CE")
field("policy__number", ProtoField.uint64, "Number of the policy")
field("policy__threshold", ProtoField.uint64, "Packets after which to acknowledge")
field("policy__delay_us", ProtoField.uint64, "Longest delay (us)")
field("policy__reordering", ProtoField.uint64, "Reordering")
field("lane", ProtoField.uint64, "Lane (channel x 4 + delivery)")
field("skip__count", ProtoField.uint64, "Messages")
field("skip__number", ProtoField.uint64, "Number")
field("skip__cost", ProtoField.uint64, "Cost")
field("limit", ProtoField.uint64, "Limit")
field("channel", ProtoField.uint64, "Channel")
field("blocked", ProtoField.uint64, "Blocked (0: connection, or channel + 1)")
field("path__token", ProtoField.bytes, "Token", base.NONE)
field("cid__number", ProtoField.uint64, "Sequence number")
field("cid__floor", ProtoField.uint64, "Floor")
field("cid__new", ProtoField.bytes, "New connection id", base.NONE)
field("cid__token", ProtoField.bytes, "Token of its RESET", base.NONE)
field("msg__delivery", ProtoField.uint8, "Delivery", base.DEC, DELIVERIES, 0x60)
field("msg__fragment", ProtoField.bool, "Fragment", 8, {"yes", "no"}, 0x10)
field("msg__has_length", ProtoField.bool, "Length given", 8, {"yes", "no"}, 0x08)
field("msg__successor", ProtoField.bool, "Successor", 8, {"yes", "no"}, 0x04)
field("msg__number_bytes", ProtoField.uint8, "Bytes of the number, less 1", base.DEC, nil, 0x03)
field("msg__channel", ProtoField.uint64, "Channel")
field("msg__number", ProtoField.uint32, "Number (lowest bytes)")
field("msg__offset", ProtoField.uint64, "Offset")
field("msg__total", ProtoField.uint64, "Size of the message")
field("msg__length", ProtoField.uint64, "Length")
field("msg__payload", ProtoField.bytes, "Payload", base.NONE)
field("stream__head", ProtoField.uint8, "Head", base.HEX)
field("stream__kind", ProtoField.uint8, "Kind", base.DEC, STREAMS, 0xf0)
field("stream__channel", ProtoField.uint64, "Channel")
field("stream__length", ProtoField.uint64, "Length")
field("stream__id", ProtoField.uint64, "Stream")
field("stream__total", ProtoField.uint64, "Announced size + 1")
field("stream__code", ProtoField.uint64, "Code")
field("stream__side", ProtoField.uint64, "Side (0: its opener, 1: its receiver)")
field("stream__limit", ProtoField.uint64, "Limit")
field("stream__data", ProtoField.bytes, "Data", base.NONE)

local list = {}
for _, one in pairs(f) do list[#list + 1] = one end
proto.fields = list

local e = {
  malformed = ProtoExpert.new("trudp.malformed", "Malformed", expert.group.MALFORMED, expert.severity.ERROR),
  wrong = ProtoExpert.new("trudp.checksum.wrong", "The checksum is wrong", expert.group.CHECKSUM, expert.severity.ERROR),
  unverified = ProtoExpert.new("trudp.checksum.unverified", "No checksum that is known fits: damaged, or without one",
    expert.group.CHECKSUM, expert.severity.NOTE),
  reserved = ProtoExpert.new("trudp.reserved", "A reserved bit is set", expert.group.PROTOCOL, expert.severity.WARN),
  train = ProtoExpert.new("trudp.train", "Several packets of one train, which the network card cuts",
    expert.group.SEQUENCE, expert.severity.CHAT),
}
local experts = {}
for _, one in pairs(e) do experts[#experts + 1] = one end
proto.experts = experts

proto.prefs.checksum = Pref.enum("Checksum of ordinary packets", 0,
  "What both sides agreed on; found out by itself where it can be", {
    {1, "find out", 0}, {2, "crc32", 2}, {3, "crc32c", 4}, {4, "none", 1},
  }, false)

-- Bits: Lua 5.2 has bit32, Wireshark brings `bit`, Lua 5.3 and later have operators

local band, bxor, rshift
if bit32 then
  band, bxor, rshift = bit32.band, bit32.bxor, bit32.rshift
elseif bit then
  band, rshift = bit.band, bit.rshift
  bxor = function(a, b) return bit.bxor(a, b) % 0x100000000 end
else
  band = load("return function(a, b) return a & b end")()
  bxor = load("return function(a, b) return a ~ b end")()
  rshift = load("return function(a, b) return a >> b end")()
end

local function crc_table(polynomial)
  local made = {}
  for entry = 0, 255 do
    local value = entry
    for _ = 1, 8 do
      local low = value % 2
      value = rshift(value, 1)
      if low == 1 then value = bxor(value, polynomial) end
    end
    made[entry] = value % 0x100000000
  end
  return made
end

local TABLES = {crc32 = crc_table(0xedb88320), crc32c = crc_table(0x82f63b78)}

-- The checksum of the first `size` bytes, going on from `before`.
local function checksum(kind, bytes, size, before)
  local entries = TABLES[kind]
  local register = bxor(before, 0xffffffff) % 0x100000000
  for index = 0, size - 1 do
    register = bxor(rshift(register, 8), entries[band(bxor(register, bytes:get_index(index)), 0xff)]) % 0x100000000
  end
  return bxor(register, 0xffffffff) % 0x100000000
end

-- What handshakes have told: the checksum by connection id, tokens of RESETs. Not needed to read a packet that has a
-- checksum; cleared for each file.

local hellos, agreed, tokens, clients = {}, {}, {}, {}

function proto.init()
  hellos, agreed, tokens, clients = {}, {}, {}, {}
end

local function agree(client, server, accepted)
  local mask = hellos[client]
  if mask == nil then return end
  local kind = "crc32"
  if band(mask, 1) == 1 and band(accepted, 1) == 1 then
    kind = "none"
  elseif band(mask, 4) == 4 and band(accepted, 4) == 4 then
    kind = "crc32c"
  end
  agreed[client], agreed[server] = kind, kind
  clients[client], clients[server] = true, false
end

-- Whether a packet for this id was sent by a server: by the handshake, else a guess, for clients have the high ports.
local function by_server(cid, pinfo)
  local known = clients[cid]
  if known ~= nil then return known end
  return pinfo.src_port < pinfo.dst_port
end

-- A place in a packet from which fields are taken; what is missing raises an error that is caught per frame.

local Cursor = {}
Cursor.__index = Cursor

local function cursor(tvb, at, stop)
  return setmetatable({tvb = tvb, at = at, stop = stop}, Cursor)
end

local CUT = {}

function Cursor:take(size)
  if size > self.stop - self.at then error(CUT, 0) end
  local range = self.tvb(self.at, size)
  self.at = self.at + size
  return range
end

-- A number in 1, 2, 4 or 8 bytes (RFC 9000 section 16): its bytes, it as UInt64, and it as a Lua number.
function Cursor:varint()
  if self.at >= self.stop then error(CUT, 0) end
  local size = 2 ^ rshift(self.tvb(self.at, 1):uint(), 6)
  local range = self:take(size)
  local value
  if size == 8 then
    value = range:uint64():band(UInt64(0xffffffff, 0x3fffffff))
  else
    value = UInt64(range:uint() % 2 ^ (8 * size - 2), 0)
  end
  return range, value, value:tonumber()
end

function Cursor:add(tree, name)
  local range, value, plain = self:varint()
  local item = tree:add(f[name], range, value)
  return plain, value, item
end

-- Packets of the handshake

local function parameters(tree, place, found)
  while place.at < place.stop do
    local start = place.at
    local id_range, id, key = place:varint()
    local length_range, length, size = place:varint()
    if size > place.stop - place.at then error(CUT, 0) end
    local value = size > 0 and place:take(size) or nil
    local branch = tree:add(f.parameter, place.tvb(start, place.at - start))
    branch:add(f.parameter__id, id_range, id)
    branch:add(f.parameter__length, length_range, length)
    local entry = PARAMETERS[key]
    branch:set_text(entry and "Parameter " .. entry[1] or "Parameter " .. tostring(id))
    if value and entry == nil then
      branch:add(f.parameter__value, value)
    elseif value and entry[2] == "number" then
      local inner = cursor(place.tvb, place.at - size, place.at)
      local plain, number = inner:add(branch, "parameter__" .. entry[1])
      branch:append_text(": " .. tostring(number))
      found[entry[1]] = plain
      if inner.at < inner.stop then
        branch:add(f.undecoded, place.tvb(inner.at, inner.stop - inner.at))
        branch:add_proto_expert_info(e.malformed, "bytes behind a number")
      end
    elseif value and entry[2] == "text" then
      branch:add(f["parameter__" .. entry[1]], value, value:string(ENC_UTF_8))
      branch:append_text(": " .. value:string(ENC_UTF_8))
    elseif value then
      branch:add(f["parameter__" .. entry[1]], value)
      found[entry[1]] = tostring(value:bytes())
    end
  end
end

local function counted(tree, place, length, name)
  local size = place:add(tree, length)
  if size > 0 then
    local range = place:take(size)
    if name == "reason" then
      tree:add(f.reason, range, range:string(ENC_UTF_8))
    else
      tree:add(f[name], range)
    end
  end
  return size
end

local function long_body(tree, place, kind, found)
  if kind == "HELLO" or kind == "RETRY" then counted(tree, place, "cookie_length", "cookie") end
  if kind == "HELLO" or kind == "ACCEPT" then
    local size = place:add(tree, "parameters_length")
    if size > place.stop - place.at then error(CUT, 0) end
    parameters(tree, cursor(place.tvb, place.at, place.at + size), found)
    place.at = place.at + size
  end
  if kind == "REFUSE" then
    local code, _, item = place:add(tree, "code")
    if CODES[code] then item:append_text(" (" .. CODES[code] .. ")") end
    counted(tree, place, "reason_length", "reason")
    local count = place:add(tree, "versions_count")
    for _ = 1, math.min(count, 1024) do tree:add(f.listed_version, place:take(4)) end
  end
  if place.at < place.stop then tree:add(f.padding, place:take(place.stop - place.at)) end
end

local function verdict(tree, range, kind, status, root)
  local item
  if range then
    item = tree:add(f.checksum, range)
    item:add(f.checksum__kind, kind):set_generated()
    item:add(f.checksum__status, status):set_generated()
  else
    item = tree:add(f.checksum__status, status)
    item:set_generated()
  end
  if status == "wrong" then item:add_proto_expert_info(e.wrong) end
  if status == "not verified" then root:add_proto_expert_info(e.unverified) end
end

local function long(tvb, tree, is_cut)
  local first = tvb(0, 1):uint()
  local kind = KINDS[rshift(first, 4) % 4]
  local stop = is_cut and tvb:len() or tvb:len() - CHECKSUM
  local flags = tree:add(f.flags, tvb(0, 1))
  flags:add(f.flags__form, tvb(0, 1))
  flags:add(f.flags__kind, tvb(0, 1))
  local place = cursor(tvb, 1, math.max(1, stop))
  local found = {}
  local ok, problem = pcall(function()
    local version = place:take(4)
    tree:add(f.version, version)
    tree:add(f.dcid, place:take(8))
    tree:add(f.scid, place:take(8))
    if version:uint() == VERSION or kind == "REFUSE" then -- which has the same form in all versions
      long_body(tree, place, kind, found)
    elseif place.at < place.stop then
      tree:add(f.padding, place:take(place.stop - place.at))
    end
  end)
  if not ok then
    if problem ~= CUT then error(problem, 0) end
    if place.at < place.stop then tree:add(f.undecoded, tvb(place.at, place.stop - place.at)) end
    tree:add_proto_expert_info(e.malformed, "a field is cut off")
  end
  if is_cut then
    verdict(tree, nil, "crc32", "not verified", tree)
  elseif stop >= LONG_HEAD then
    local is_good = checksum("crc32", tvb:bytes(), stop, 0) == tvb(stop, 4):uint()
    verdict(tree, tvb(stop, 4), "crc32", is_good and "good" or "wrong", tree)
    if is_good and ok then
      local dcid, scid = tostring(tvb:bytes(5, 8)), tostring(tvb:bytes(13, 8))
      if kind == "HELLO" then hellos[scid] = found.checksums or 2 end
      if kind == "ACCEPT" then agree(dcid, scid, found.checksums or 2) end
      if kind == "ACCEPT" and found.reset_token then tokens[found.reset_token] = true end
    end
  end
  return kind
end

-- Frames of ordinary packets

local function ack(tree, place, has_marks)
  local largest, exact = place:add(tree, "ack__largest")
  local delay_range, delay = place:varint()
  tree:add(f.ack__delay, delay_range, delay)
  tree:add(f.ack__delay_us, delay_range, delay * 8):set_generated()
  local count = place:add(tree, "ack__count")
  if count >= RANGES_MAX then error("too many ranges", 0) end
  local run_range, run = place:varint()
  tree:add(f.ack__first_run, run_range, run)
  if run > exact then error("a range below 0", 0) end
  local low, high = exact - run, exact
  local said = {}
  local function tell(range)
    local text = low == high and tostring(low) or tostring(low) .. "-" .. tostring(high)
    said[#said + 1] = text
    tree:add(f.ack__range, range, text):set_generated()
  end
  tell(run_range)
  for _ = 1, count do
    local gap_range, gap = place:varint()
    tree:add(f.ack__gap, gap_range, gap)
    if gap + 2 > low then error("a range below 0", 0) end
    high = low - gap - 2
    run_range, run = place:varint()
    tree:add(f.ack__run, run_range, run)
    if run > high then error("a range below 0", 0) end
    low = high - run
    tell(run_range)
  end
  if has_marks then
    place:add(tree, "ack__ect0")
    place:add(tree, "ack__ect1")
    place:add(tree, "ack__ce")
  end
  return table.concat(said, " ")
end

local function stream_frames(tree, tvb, at, stop)
  local place = cursor(tvb, at, stop)
  while place.at < place.stop do
    local start = place.at
    local head = place:take(1)
    local kind = rshift(head:uint(), 4)
    local name = STREAMS[kind]
    if name == nil then error("stream frame of kind " .. kind, 0) end
    local branch = tree:add(proto, tvb(start, stop - start), name)
    local item = branch:add(f.stream__head, head)
    item:add(f.stream__kind, head)
    if band(head:uint(), 8) == 8 then place:add(branch, "stream__channel") end
    local size = place:add(branch, "stream__length")
    if size > place.stop - place.at then error(CUT, 0) end
    local inner = cursor(tvb, place.at, place.at + size)
    local id = inner:add(branch, "stream__id")
    if name == "STREAM_OPEN" then
      inner:add(branch, "stream__total")
    elseif name == "STREAM_RESET" then
      inner:add(branch, "stream__code")
      inner:add(branch, "stream__side")
    elseif name == "STREAM_CREDIT" then
      inner:add(branch, "stream__limit")
    elseif name == "STREAM_DATA" and inner.at < inner.stop then
      branch:add(f.stream__data, inner:take(inner.stop - inner.at))
    end
    if inner.at < inner.stop then branch:add(f.padding, inner:take(inner.stop - inner.at)) end
    place.at = place.at + size
    branch:set_len(place.at - start)
    branch:append_text(", stream " .. id)
  end
end

-- Reads a MSG frame; `last` is channel and delivery of the one right before.
local function message(tree, place, type_range, last)
  local kind = type_range:uint()
  local delivery = rshift(kind, 5) % 4
  tree:add(f.msg__delivery, type_range)
  tree:add(f.msg__fragment, type_range)
  tree:add(f.msg__has_length, type_range)
  tree:add(f.msg__successor, type_range)
  local channel
  local text
  if band(kind, 4) == 4 then
    if last == nil or last.delivery ~= delivery or kind % 4 ~= 0 then error("a successor of no message", 0) end
    channel = last.channel
    text = "successor"
  else
    tree:add(f.msg__number_bytes, type_range)
    channel = place:add(tree, "msg__channel")
    if channel > STREAM_CHANNEL then error("channel " .. channel, 0) end
    local number = place:take(kind % 4 + 1)
    tree:add(f.msg__number, number)
    text = "number " .. number:uint()
  end
  local offset, total
  if band(kind, 16) == 16 then
    offset = place:add(tree, "msg__offset")
    total = place:add(tree, "msg__total")
  end
  local size = place.stop - place.at
  if band(kind, 8) == 8 then size = place:add(tree, "msg__length") end
  if size > place.stop - place.at then error(CUT, 0) end
  if offset and (size == 0 or offset + size > total) then error("a fragment outside of its message", 0) end
  if size > 0 then
    local payload = place:take(size)
    local item = tree:add(f.msg__payload, payload)
    if channel == STREAM_CHANNEL and not offset then
      stream_frames(item, place.tvb, place.at - size, place.at)
    end
  end
  local part = offset and ", bytes " .. offset .. " to " .. offset + size .. " of " .. total or ", " .. size .. " bytes"
  local where = channel == STREAM_CHANNEL and "streams" or "channel " .. channel
  return {channel = channel, delivery = delivery}, where .. ", " .. DELIVERIES[delivery] .. ", " .. text .. part
end

local function new_cid(tree, place, receiver, from_server)
  local number = place:add(tree, "cid__number")
  place:add(tree, "cid__floor")
  local range = place:take(8)
  tree:add(f.cid__new, range)
  local cid = tostring(range:bytes())
  if from_server then
    local token = place:take(TOKEN)
    tree:add(f.cid__token, token)
    tokens[tostring(token:bytes())] = true
  end
  agreed[cid], clients[cid] = agreed[receiver], not from_server
  return "number " .. number .. ", " .. cid:lower()
end

local function control(tree, place, kind, receiver, from_server)
  if kind == 0 then
    local start = place.at - 1
    local run = 1
    while place.at < place.stop and place.tvb(place.at, 1):uint() == 0 do
      place.at = place.at + 1
      run = run + 1
    end
    tree:add(f.pad__count, place.tvb(start, place.at - start), run)
    return run .. " times"
  elseif kind == 1 then
    return ""
  elseif kind == 2 or kind == 3 then
    return ack(tree, place, kind == 3)
  elseif kind == 4 then
    local number = place:add(tree, "policy__number")
    local threshold = place:add(tree, "policy__threshold")
    local delay = place:add(tree, "policy__delay_us")
    place:add(tree, "policy__reordering")
    if threshold == 0 then error("malformed", 0) end
    return "number " .. number .. ", after " .. threshold .. " packets or " .. delay .. " us"
  elseif kind == 5 then
    local lane = place:add(tree, "lane")
    local count = place:add(tree, "skip__count")
    if lane % 4 > 1 or count < 1 or count > SKIPS_MAX then error("malformed", 0) end
    local said = {}
    for _ = 1, count do
      said[#said + 1] = tostring((place:add(tree, "skip__number")))
      place:add(tree, "skip__cost")
    end
    return "channel " .. math.floor(lane / 4) .. ", messages " .. table.concat(said, " ")
  elseif kind == 6 then
    return tostring((place:add(tree, "limit")))
  elseif kind == 7 then
    local channel = place:add(tree, "channel")
    return "channel " .. channel .. ", " .. tostring((place:add(tree, "limit")))
  elseif kind == 8 then
    local which = place:add(tree, "blocked")
    local where = which == 0 and "the connection" or "channel " .. which - 1
    return where .. ", needs " .. tostring((place:add(tree, "limit")))
  elseif kind == 9 or kind == 10 then
    tree:add(f.path__token, place:take(8))
    return ""
  elseif kind == 11 then
    return new_cid(tree, place, receiver, from_server)
  elseif kind == 12 then
    return "number " .. place:add(tree, "cid__number")
  elseif kind == 14 then
    local code, _, item = place:add(tree, "code")
    if CODES[code] then item:append_text(" (" .. CODES[code] .. ")") end
    local size = place:add(tree, "reason_length")
    if size > REASON_MAX then error("the reason is too long", 0) end
    local reason = ""
    if size > 0 then
      local range = place:take(size)
      tree:add(f.reason, range, range:string(ENC_UTF_8))
      reason = " " .. range:string(ENC_UTF_8)
    end
    return code .. reason
  end
  error("unknown", 0)
end

local function frames(tvb, tree, at, stop, receiver, from_server)
  local place = cursor(tvb, at, stop)
  local last
  local names = {}
  while place.at < place.stop do
    local start = place.at
    local type_range = place:take(1)
    local kind = type_range:uint()
    local name = FRAMES[kind] or "unknown frame"
    local branch = tree:add(f.frame, tvb(start, stop - start))
    branch:set_text(name)
    branch:add(f.frame__type, type_range)
    branch:add(f.frame__name, type_range, name):set_generated()
    local ok, text, more = pcall(function()
      if kind >= 128 then return message(branch, place, type_range, last) end
      return nil, control(branch, place, kind, receiver, from_server)
    end)
    if not ok then
      if type(text) == "table" then text = "cut off" end
      branch:add(f.undecoded, tvb(start, stop - start))
      branch:add_proto_expert_info(e.malformed, name .. ": " .. tostring(text))
      names[#names + 1] = name .. " (malformed)"
      return names
    end
    if kind ~= 0 then last = text end
    branch:set_len(place.at - start)
    if more ~= "" then branch:append_text(": " .. more) end
    if kind ~= 0 then names[#names + 1] = name end
    if kind == 14 and place.at < place.stop then
      tree:add(f.padding, place:take(place.stop - place.at)):append_text(" (behind a CLOSE, of no meaning)")
    end
  end
  return names
end

-- Ordinary packets

-- Which checksum a packet has, and whether it is right: (kind, status).
local function judge(tvb, is_cut)
  local wanted = ({[1] = "none", [2] = "crc32", [4] = "crc32c"})[proto.prefs.checksum]
    or agreed[tostring(tvb:bytes(1, 8))]
  if is_cut then return wanted or "", "not verified" end
  if wanted == "none" then return "none", "none" end
  local size = tvb:len() - CHECKSUM
  if size >= SHORT_MIN - 1 then
    local bytes, seed, sum = tvb:bytes(), tvb(5, 4):uint(), tvb(size, 4):uint()
    for _, kind in ipairs(wanted and {wanted} or {"crc32c", "crc32"}) do
      if checksum(kind, bytes, size, seed) == sum then return kind, "good" end
    end
  end
  if wanted then return wanted, "wrong" end
  return "", "not verified"
end

local function short(tvb, pinfo, tree, is_cut)
  local size = tvb:len()
  if size >= 37 and tokens[tostring(tvb:bytes(size - TOKEN, TOKEN))] then
    tree:add(f.flags, tvb(0, 1)):add(f.flags__form, tvb(0, 1))
    tree:add(f.noise, tvb(1, size - TOKEN - 1))
    tree:add(f.token, tvb(size - TOKEN, TOKEN))
    return "RESET", {}
  end
  local kind, status = judge(tvb, is_cut)
  local first = tvb(0, 1):uint()
  local flags = tree:add(f.flags, tvb(0, 1))
  flags:add(f.flags__form, tvb(0, 1))
  flags:add(f.flags__copies, tvb(0, 1))
  flags:add(f.flags__number_bytes, tvb(0, 1))
  if band(first, 0x2c) ~= 0 then flags:add_proto_expert_info(e.reserved) end
  tree:add(f.cid, tvb(1, 8))
  local number_bytes = first % 4 + 1
  if 9 + number_bytes > size then
    tree:add_proto_expert_info(e.malformed, "the number is cut off")
    return "SHORT (malformed)", {}
  end
  tree:add(f.number, tvb(9, number_bytes))
  local has_sum = status == "good" or status == "wrong"
  local stop = has_sum and size - CHECKSUM or size
  local receiver = tostring(tvb:bytes(1, 8))
  local names = frames(tvb, tree, 9 + number_bytes, stop, receiver, by_server(receiver, pinfo))
  verdict(tree, has_sum and tvb(stop, CHECKSUM) or nil, kind, status, tree)
  return "SHORT " .. tvb(9, number_bytes):uint(), names
end

-- Datagrams

-- The size of the packets in a datagram: several of equal size where the kernel cuts a train, or has joined one.
local function piece(tvb)
  local size = tvb:len()
  local first = tvb(0, 1):uint()
  local begin, least, mark_end = 1, SHORT_MIN, 9
  if first >= 0xc0 then begin, least, mark_end = 0, LONG_HEAD + CHECKSUM, LONG_HEAD end
  if size < 2 * least or band(first, 0x40) == 0 then return size end
  local raw = tvb:raw(0, size)
  local mark = raw:sub(begin + 1, mark_end)
  local form = rshift(first, 6)
  local at = raw:find(mark, begin + least + 1, true)
  while at do
    local step = at - 1 - begin
    local is_train = true
    for place = step, size - 1, step do
      local head = raw:byte(place + 1)
      if rshift(head, 6) ~= form or raw:sub(place + begin + 1, place + mark_end) ~= mark then
        is_train = false
        break
      end
    end
    if is_train then return step end
    at = raw:find(mark, at + 1, true)
  end
  return size
end

local function dissect(tvb, pinfo, root)
  local size, reported = tvb:len(), tvb:reported_len()
  if size < SHORT_MIN then return 0 end
  pinfo.cols.protocol = "TRUDP"
  local step = piece(tvb)
  local said = {}
  for start = 0, size - 1, step do
    local length = math.min(step, size - start)
    local is_cut = start + length == size and size < reported
    local inner = tvb(start, length):tvb()
    local tree = root:add(proto, tvb(start, length))
    local form = rshift(tvb(start, 1):uint(), 6)
    if form == 3 and length >= LONG_HEAD then
      local kind = long(inner, tree, is_cut)
      tree:add(f.packet, kind):set_generated()
      tree:append_text(", " .. kind)
      said[#said + 1] = kind
    elseif form == 1 and length >= SHORT_MIN then
      local kind, names = short(inner, pinfo, tree, is_cut)
      tree:add(f.packet, kind == "RESET" and kind or "SHORT"):set_generated()
      tree:append_text(", " .. kind)
      said[#said + 1] = kind .. (#names > 0 and " [" .. table.concat(names, " ") .. "]" or "")
    else
      tree:add(f.undecoded, tvb(start, length))
      tree:add_proto_expert_info(e.malformed, "no packet of ours")
    end
    if step < size then tree:add_proto_expert_info(e.train) end
  end
  pinfo.cols.info = table.concat(said, " | ")
  return size
end

function proto.dissector(tvb, pinfo, root)
  return dissect(tvb, pinfo, root)
end

-- Whether a datagram is ours, by what can't be there by chance.
local function heuristic(tvb, pinfo, root)
  local size = tvb:len()
  if size < SHORT_MIN then return false end
  local form = rshift(tvb(0, 1):uint(), 6)
  if form == 3 then
    if size < LONG_HEAD or tvb(1, 2):uint() ~= 0x7472 then return false end
  elseif form == 1 then
    local first = tvb(0, math.min(piece(tvb), size)):tvb()
    local is_known = agreed[tostring(first:bytes(1, 8))] ~= nil
      or (size >= 37 and tokens[tostring(tvb:bytes(size - TOKEN, TOKEN))])
    if not is_known then
      local _, status = judge(first, first:len() < first:reported_len())
      if status ~= "good" then return false end
    end
  else
    return false
  end
  dissect(tvb, pinfo, root)
  return true
end

proto:register_heuristic("udp", heuristic)
DissectorTable.get("udp.port"):add_for_decode_as(proto)
