'use strict';
/**
 * A client of transport.events, written from docs/events-protocol.md alone: sessions, rooms, calls both ways, and a
 * cursor for each stream, by which it comes back and hears of everything that it missed, or of a gap.
 *
 * It needs the `WebSocket` of browsers and of Node 22 (Node 20: --experimental-websocket) and nothing else.
 */

const KINDS = {
  HELLO: 0x01, JOIN: 0x02, LEAVE: 0x03, MESSAGE: 0x04, ANSWER: 0x05, CONTINUE: 0x07, WELCOME: 0x41, REFUSED: 0x42,
  JOINED: 0x43, LEFT: 0x44, EVENT: 0x45, REPLAYED: 0x46, VOLATILE: 0x47, ADVANCE: 0x48, CAUGHT_UP: 0x49, GAP: 0x4a,
  REPLY: 0x4b, ACK: 0x4c, CALL: 0x4d, GOAWAY: 0x4e,
};
const WHYS = ['epoch', 'trimmed', 'limit', 'denied', 'too_large'];
const POLICIES = ['now', 'oldest', 'snapshot'];
const DEPTH = 32;
const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

/** Writes a frame: bytes, varints, and bodies in msgpack. */
class Writer {
  constructor() { this.bytes = []; }

  /** @param {number} value below 2^53; shortest form */
  varint(value) {
    if (value < 0x40) this.bytes.push(value);
    else if (value < 0x4000) this.number(value + 0x4000, 2);
    else if (value < 0x40000000) this.number(value + 0x80000000, 4);
    else this.big(BigInt(value) + (3n << 62n));
    return this;
  }

  number(value, width) {
    for (let shift = width - 1; shift >= 0; shift -= 1) this.bytes.push(Math.floor(value / 2 ** (8 * shift)) % 256);
    return this;
  }

  big(value) {
    for (let shift = 56n; shift >= 0n; shift -= 8n) this.bytes.push(Number((value >> shift) & 0xffn));
  }

  sized(kind, length, wide) {
    if (wide[0] && length < 256) this.number(wide[0], 1).number(length, 1);
    else if (length < 65536) this.number(wide[1], 1).number(length, 2);
    else this.number(wide[2], 1).number(length, 4);
    return this;
  }

  raw(bytes) { for (const byte of bytes) this.bytes.push(byte); }

  body(value) {
    if (value === null || value === undefined) this.bytes.push(0xc0);
    else if (typeof value === 'boolean') this.bytes.push(value ? 0xc3 : 0xc2);
    else if (typeof value === 'bigint') this.number(value < 0n ? 0xd3 : 0xcf, 1).big(BigInt.asUintN(64, value));
    else if (typeof value === 'number') this.numeric(value);
    else if (typeof value === 'string') this.text(encoder.encode(value));
    else if (value instanceof Uint8Array) this.sized('bin', value.length, [0xc4, 0xc5, 0xc6]).raw(value);
    else if (Array.isArray(value)) this.items(value, 0x90, [0, 0xdc, 0xdd], (item) => this.body(item));
    else this.items(Object.entries(value), 0x80, [0, 0xde, 0xdf], ([key, item]) => this.body(key).body(item));
    return this;
  }

  numeric(value) {
    if (Number.isSafeInteger(value) && value >= 0 && value < 0x80) this.bytes.push(value);
    else if (Number.isSafeInteger(value) && value < 0 && value >= -32) this.bytes.push(value + 256);
    else if (Number.isSafeInteger(value)) this.body(BigInt(value));
    else {
      const view = new DataView(new ArrayBuffer(8));
      view.setFloat64(0, value);
      this.bytes.push(0xcb, ...new Uint8Array(view.buffer));
    }
  }

  text(bytes) {
    if (bytes.length < 32) this.bytes.push(0xa0 + bytes.length);
    else this.sized('str', bytes.length, [0xd9, 0xda, 0xdb]);
    this.raw(bytes);
  }

  items(items, short, wide, each) {
    if (items.length < 16) this.bytes.push(short + items.length);
    else this.sized('items', items.length, wide);
    items.forEach(each);
  }

  frame() { return Uint8Array.from(this.bytes); }
}

/** Reads a frame. Whatever is cut off or unknown throws a RangeError. */
class Reader {
  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = 0;
  }

  take(count) {
    if (this.at + count > this.bytes.length) throw new RangeError('a frame is cut off');
    this.at += count;
    return this.at - count;
  }

  byte() { return this.bytes[this.take(1)]; }

  varint() {
    const first = this.byte();
    let value = BigInt(first & 0x3f);
    for (let left = 2 ** (first >> 6) - 1; left > 0; left -= 1) value = value * 256n + BigInt(this.byte());
    return Number(value);
  }

  unsigned(width) {
    const at = this.take(width);
    if (width === 8) return this.view.getBigUint64(at);
    if (width === 4) return this.view.getUint32(at);
    return width === 2 ? this.view.getUint16(at) : this.view.getUint8(at);
  }

  body(depth = 0) {
    if (depth > DEPTH) throw new RangeError('a body is too deep');
    const head = this.byte();
    if (head < 0x80) return head;
    if (head >= 0xe0) return head - 256;
    if (head < 0x90) return this.map(head & 15, depth);
    if (head < 0xa0) return this.array(head & 15, depth);
    if (head < 0xc0) return this.text(head & 31);
    switch (head) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: case 0xc5: case 0xc6: return this.binary(this.unsigned(2 ** (head - 0xc4)));
      case 0xca: return this.view.getFloat32(this.take(4));
      case 0xcb: return this.view.getFloat64(this.take(8));
      case 0xcc: case 0xcd: case 0xce: return this.unsigned(2 ** (head - 0xcc));
      case 0xcf: return small(this.unsigned(8));
      case 0xd0: return this.view.getInt8(this.take(1));
      case 0xd1: return this.view.getInt16(this.take(2));
      case 0xd2: return this.view.getInt32(this.take(4));
      case 0xd3: return small(this.view.getBigInt64(this.take(8)));
      case 0xd9: case 0xda: case 0xdb: return this.text(this.unsigned(2 ** (head - 0xd9)));
      case 0xdc: case 0xdd: return this.array(this.unsigned(2 ** (head - 0xdb)), depth);
      case 0xde: case 0xdf: return this.map(this.unsigned(2 ** (head - 0xdd)), depth);
      default: throw new RangeError(`a body with byte ${head}`);
    }
  }

  binary(count) { const at = this.take(count); return this.bytes.slice(at, at + count); }

  text(count) { return decoder.decode(this.binary(count)); }

  array(count, depth) {
    const items = [];
    for (let index = 0; index < count; index += 1) items.push(this.body(depth + 1));
    return items;
  }

  map(count, depth) {
    const entries = [];
    for (let index = 0; index < count; index += 1) entries.push([this.body(depth + 1), this.body(depth + 1)]);
    return Object.fromEntries(entries);
  }
}

/** A number where it is one without loss. */
function small(value) {
  return value >= -(2n ** 53n) && value <= 2n ** 53n ? Number(value) : value;
}

/** The header of a frame. */
function begin(kind, ...numbers) {
  return numbers.reduce((writer, number) => writer.varint(number), new Writer().number(kind, 1));
}

/**
 * A client of one namespace. `on` has the functions to be called: event(name, data, where), volatile(name, data),
 * gap(room, gap), caughtUp(room, count), left(room, reason), call(name, data) which gives the answer, and
 * closed({ code, reason, refused }).
 */
class EventsClient {
  /** @param {{url: string, namespace?: string, auth?: any, on?: Record<string, Function>, state?: any}} options */
  constructor({ url, namespace = '/', auth = null, on = {}, state = null }) {
    Object.assign(this, { url, namespace, auth, on });
    this.session = state ? state.session : '';
    this.secret = state ? Uint8Array.from(state.secret) : new Uint8Array();
    this.generation = state ? state.generation : 0;
    this.streams = new Map(); // claims by room, as JOINED gave them, with the offset that was had
    for (const [room, epoch, offset, since, byClient, ticket] of state ? state.streams : []) {
      this.streams.set(room, { room, epoch: BigInt(epoch), offset, since, byClient, ticket: Uint8Array.from(ticket) });
    }
    this.aliases = new Map();
    this.messages = new Map(); // by number, those that are not settled
    this.next = 1;
    this.forgot = Boolean(state); // what was sent before is not known
    this.requests = new Map();
    this.request = 0;
    this.refused = null;
    this.in = false;
  }

  /** What is to be kept to come back after a new start: JSON. The secret proves the session. */
  state() {
    const streams = [...this.streams.values()].map((one) => [
      one.room, String(one.epoch), one.offset, one.since, one.byClient, [...one.ticket],
    ]);
    return { session: this.session, secret: [...this.secret], generation: this.generation, streams };
  }

  /** Connects, the first time or again; kept is when the server has let the client in. */
  connect() {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(this.url);
      this.socket = socket;
      this.refused = null;
      this.aliases.clear();
      socket.binaryType = 'arraybuffer';
      socket.onopen = () => this.hello();
      socket.onmessage = ({ data }) => this.take(new Reader(new Uint8Array(data)), resolve);
      socket.onerror = () => {};
      socket.onclose = ({ code, reason }) => {
        if (socket !== this.socket) return;
        this.in = false;
        const end = { code, reason, refused: this.refused };
        for (const [, { failed }] of this.requests) failed(new Error('the connection is lost'));
        this.requests.clear();
        reject(new Error(this.refused ? `${this.refused.reason}: ${this.refused.text}` : `lost: ${code}`));
        if (this.on.closed) this.on.closed(end);
      };
    });
  }

  /** Leaves without a word of goodbye to the events layer; `connect` comes back. */
  drop() { this.socket.close(); }

  send(writer) { if (this.socket.readyState === 1) this.socket.send(writer.frame()); }

  hello() {
    const floor = this.forgot ? 0 : this.floor();
    const streams = [...this.streams.values()].map((one) => [
      one.room, BigInt(one.epoch), one.offset, one.since, one.byClient, one.ticket,
    ]);
    this.send(begin(KINDS.HELLO).body({
      v: [1], namespace: this.namespace, auth: this.auth, session: this.session, secret: this.secret,
      generation: this.session ? this.generation + 1 : 0, floor: this.session ? floor : 0, streams,
    }));
  }

  /** The lowest number that is not settled. */
  floor() { return Math.min(this.next, ...this.messages.keys()); }

  // What a program does

  /** Enters a room; kept is where: { epoch, offset }. */
  join(room, since = 'now') { return this.ask(KINDS.JOIN, [room, since, null]); }

  leave(room) { return this.ask(KINDS.LEAVE, [room]); }

  ask(kind, body) {
    this.request += 1;
    const number = this.request;
    return new Promise((done, failed) => {
      this.requests.set(number, { done, failed });
      this.send(begin(kind, number).body(body));
    });
  }

  /** Sends an event; kept is when the server has handled it, however many connections that takes. */
  emit(name, data = null) { return this.message(name, data, false); }

  /** Asks; kept is the reply. */
  call(name, data = null) { return this.message(name, data, true); }

  message(name, data, wantsReply) {
    const number = this.next;
    this.next += 1;
    return new Promise((done, failed) => {
      this.messages.set(number, { name, data, wantsReply, done, failed });
      if (this.in) this.say(number);
    });
  }

  say(number) {
    const { name, data, wantsReply } = this.messages.get(number);
    this.send(begin(KINDS.MESSAGE, number, this.floor()).number(wantsReply ? 1 : 0, 1).body([name, data]));
  }

  // What the server says

  take(reader, entered) {
    const kind = reader.byte();
    switch (kind) {
      case KINDS.WELCOME: this.welcome(reader.body()); entered(this); break;
      case KINDS.REFUSED: this.refused = reader.body(); break;
      case KINDS.JOINED: this.joined(reader.varint(), reader.varint(), reader.byte(), reader.body()); break;
      case KINDS.LEFT: this.left(reader.varint(), reader.body()); break;
      case KINDS.EVENT: case KINDS.REPLAYED: case KINDS.ADVANCE:
        this.move(kind, reader.varint(), reader.varint(), reader.varint(), reader); break;
      case KINDS.VOLATILE: reader.varint(); this.tell('volatile', ...reader.body()); break;
      case KINDS.CAUGHT_UP: this.caughtUp(reader.varint(), reader.varint(), reader.varint()); break;
      case KINDS.GAP: this.gap(reader.varint(), reader.byte(), reader.byte(), reader.varint(), reader.body()); break;
      case KINDS.REPLY: this.reply(reader.varint(), reader.byte(), reader.body()); break;
      case KINDS.ACK: this.acked(reader.varint()); break;
      case KINDS.CALL: this.answer(reader.varint(), reader.varint(), reader.body()); break;
      default: // GOAWAY, and what a later version may say
    }
  }

  tell(what, ...given) { if (this.on[what]) this.on[what](...given); }

  welcome(told) {
    const isBack = this.session !== '';
    Object.assign(this, { session: told.session, secret: told.secret, generation: told.generation });
    if (isBack && (!told.resumed || this.forgot)) { // nobody knows which of the old messages were handled
      for (const { failed } of this.messages.values()) failed(new Error('it is not known whether it was handled'));
      this.messages.clear();
      this.next = told.seen + 1;
    }
    this.forgot = false;
    for (const [number, message] of this.messages) {
      const handled = number <= told.contiguous || told.beyond.includes(number);
      if (handled && !message.wantsReply) this.settle(number, true, null);
    }
    this.in = true;
    for (const number of [...this.messages.keys()].sort((one, other) => one - other)) this.say(number);
  }

  joined(request, alias, catchingUp, [room, epoch, top, offset, since, byClient, ticket]) {
    const fresh = { room, epoch: BigInt(epoch), offset, since, byClient, ticket };
    const before = this.streams.get(room);
    // until what came between is told, the old place is what is claimed
    const waits = catchingUp && before && (before.epoch !== fresh.epoch || offset < before.offset);
    for (const [old, other] of this.aliases) if (other.room === room) this.aliases.delete(old);
    this.aliases.set(alias, fresh);
    if (!waits) this.streams.set(room, fresh);
    this.asked(request, { epoch: fresh.epoch, offset, top });
  }

  asked(request, value, error = null) {
    const asked = this.requests.get(request);
    if (!asked) return;
    this.requests.delete(request);
    if (error) asked.failed(error); else asked.done(value);
  }

  left(request, [room, reason]) {
    this.streams.delete(room);
    for (const [alias, stream] of this.aliases) if (stream.room === room) this.aliases.delete(alias);
    this.asked(request, null, reason ? new Error(reason) : null);
    if (!request) this.tell('left', room, reason);
  }

  /** An event, or a move over some that are not for this client. */
  move(kind, alias, offset, step, reader) {
    const stream = this.aliases.get(alias);
    if (!stream || offset <= stream.offset) return; // it came before
    if (offset - step > stream.offset) { // a hole: the server reads on from there
      this.send(begin(KINDS.CONTINUE, alias, stream.offset));
      return;
    }
    stream.offset = offset;
    if (kind === KINDS.ADVANCE) return;
    const [name, data] = reader.body();
    this.tell('event', name, data, { room: stream.room, offset, replay: kind === KINDS.REPLAYED });
  }

  caughtUp(alias, offset, count) {
    const stream = this.aliases.get(alias);
    if (!stream) return;
    stream.offset = offset;
    this.streams.set(stream.room, stream);
    this.tell('caughtUp', stream.room, count);
  }

  gap(alias, why, policy, offset, [room, first, top, lost, snapshot]) {
    const stream = this.aliases.get(alias);
    if (stream) {
      stream.offset = offset;
      this.streams.set(room, stream);
    } else this.streams.delete(room); // denied
    this.tell('gap', room, { why: WHYS[why], policy: POLICIES[policy], offset, first, top, lost, snapshot });
  }

  settle(number, ok, data) {
    const message = this.messages.get(number);
    if (!message) return;
    this.messages.delete(number);
    if (ok) message.done(data);
    else message.failed(Object.assign(new Error(data.text), { code: data.code }));
  }

  reply(number, ok, data) { this.settle(number, ok === 1, data); }

  acked(contiguous) {
    for (const [number, { wantsReply }] of this.messages) {
      if (number <= contiguous && !wantsReply) this.settle(number, true, null);
    }
  }

  async answer(number, alias, [name, data]) {
    let ok = 1;
    let value;
    try {
      if (!this.on.call) throw Object.assign(new Error(`nobody answers ${name}`), { code: 'unknown_event' });
      value = await this.on.call(name, data);
    } catch (error) {
      ok = 0;
      value = { code: error.code || 'failed', text: String(error.message).slice(0, 200) };
    }
    this.send(begin(KINDS.ANSWER, number).number(ok, 1).body(value));
  }
}

module.exports = { EventsClient, Reader, Writer };
