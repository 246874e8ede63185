'use strict';
/**
 * The frames of reliable UDP (docs/protocol.md, "Frames" and "Messages of a connection"), from bytes to objects and
 * back. What breaks the format is a WireError with the code that the connection ends with.
 */

const { Reader, WireError, counted, truncate, varint } = require('./bytes');

const COST_OF_A_MESSAGE = 32; // beside its bytes
const STREAMS_CHANNEL = 256;
const STREAMS_MESSAGE_MAX = 66560;
const UNRELIABLE_MESSAGE_MAX = 65536;
const ACK_RANGES_MAX = 32;
const SKIPS_MAX = 32;
const REASON_BYTES_MAX = 256;
const PATH_TOKEN_BYTES = 8;
const CID_BYTES = 8;
const RESET_TOKEN_BYTES = 16;
const NUMBER_BYTES = 4; // of a message, as we write it: more than is needed, and never wrong

/**
 * What the side that reads has announced, and how far it is.
 * @typedef {object} Receiver
 * @property {number} channels how many it takes
 * @property {number} agreed the smaller number of channels of the two sides: on how many it may send
 * @property {number} maxMessage the largest message that it takes
 * @property {boolean} isClient whether a server sends to it, whose cids come with tokens
 * @property {Map<number, bigint>} expected by lane, the message number behind the highest that came; kept here
 */

/**
 * @typedef {{frame: string, [field: string]: any}} Frame
 */

/**
 * A lane as a number, the way SKIP writes it.
 * @param {number} channel
 * @param {number} delivery
 */
function lane(channel, delivery) {
  return channel * 4 + delivery;
}

/**
 * @param {{channels?: number, agreed?: number, maxMessage?: number, isClient?: boolean}} [announced]
 * @returns {Receiver} one to which nothing has come
 */
function receiver({ channels = 256, agreed = channels, maxMessage = 2 ** 20, isClient = true } = {}) {
  return { channels, agreed, maxMessage, isClient, expected: new Map() };
}

/**
 * The frames of a packet, one after the other, so that each can be acted on before the next is looked at. Behind a
 * CLOSE nothing is.
 * @param {Buffer} bytes
 * @param {Receiver} to
 * @returns {Generator<Frame>}
 */
function* readFrames(bytes, to) {
  const reader = new Reader(bytes);
  /** @type {Frame | null} */
  let before = null; // the MSG that a successor follows
  while (reader.left) {
    const type = reader.byte();
    const frame = type >= 0x80 ? readMessage(reader, type, before, to) : readControl(reader, type, to);
    if (frame.frame === 'MSG') before = frame;
    if (frame.frame === 'SKIP') before = null;
    yield frame;
    if (frame.frame === 'CLOSE') return;
  }
}

/**
 * @param {Reader} reader behind the type
 * @param {number} type
 * @param {Receiver} to
 * @returns {Frame}
 */
function readControl(reader, type, to) {
  switch (type) {
    case 0x00:
      return { frame: 'PAD' };
    case 0x01:
      return { frame: 'PING' };
    case 0x02:
      return { frame: 'ACK', ...readAck(reader) };
    case 0x03:
      return {
        frame: 'ACK_ECN', ...readAck(reader), ect0: reader.varint(), ect1: reader.varint(), ce: reader.varint(),
      };
    case 0x04:
      return readAckPolicy(reader);
    case 0x05:
      return readSkip(reader, to);
    case 0x06:
      return { frame: 'CONNECTION_CREDIT', limit: reader.varint() };
    case 0x07:
      return { frame: 'CHANNEL_CREDIT', channel: reader.small(to.agreed - 1, 'channel'), limit: reader.varint() };
    case 0x08:
      return { frame: 'BLOCKED', channel: reader.small(to.channels, 'channel') - 1, limit: reader.varint() };
    case 0x09:
      return { frame: 'PATH_CHALLENGE', token: reader.take(PATH_TOKEN_BYTES) };
    case 0x0a:
      return { frame: 'PATH_RESPONSE', token: reader.take(PATH_TOKEN_BYTES) };
    case 0x0b:
      return readNewCid(reader, to);
    case 0x0c:
      return { frame: 'RETIRE_CID', number: reader.varint() };
    case 0x0e: {
      const code = reader.small(65535, 'code');
      return { frame: 'CLOSE', code, reason: reader.counted(REASON_BYTES_MAX, 'reason').toString('utf8') };
    }
    default:
      throw new WireError(`a frame of type ${type}`);
  }
}

/** @param {Reader} reader */
function readAck(reader) {
  const largest = reader.varint();
  const delay = reader.varint() * 8n;
  const further = reader.small(ACK_RANGES_MAX - 1, 'ranges');
  let low = largest - reader.varint();
  const ranges = [[low, largest]];
  for (let i = 0; i < further; i++) {
    const high = low - reader.varint() - 2n;
    low = high - reader.varint();
    ranges.push([low, high]);
  }
  reader.check(low >= 0n, 'an ack of a number below 0');
  return { ranges, delay_us: delay };
}

/**
 * @param {Reader} reader
 * @returns {Frame}
 */
function readAckPolicy(reader) {
  const [number, threshold, delay, reordering] = [1, 2, 3, 4].map(() => reader.varint());
  reader.check(threshold > 0n, 'an ack after no packet');
  return { frame: 'ACK_POLICY', number, threshold, delay_us: delay, reordering };
}

/**
 * @param {Reader} reader
 * @param {Receiver} to
 * @returns {Frame}
 */
function readSkip(reader, to) {
  const where = reader.small(lane(to.channels - 1, 1), 'lane');
  reader.check(where % 4 < 2, 'SKIP of an unreliable message');
  const count = reader.small(SKIPS_MAX, 'messages');
  reader.check(count > 0, 'SKIP of nothing');
  const messages = [];
  for (let i = 0; i < count; i++) {
    const number = reader.varint();
    const cost = reader.small(to.maxMessage + COST_OF_A_MESSAGE, 'cost');
    reader.check(cost >= COST_OF_A_MESSAGE, `cost: ${cost}`);
    came(to, where, number);
    messages.push([number, cost]);
  }
  return { frame: 'SKIP', channel: where >> 2, delivery: where % 4, messages };
}

/**
 * @param {Reader} reader
 * @param {Receiver} to
 * @returns {Frame}
 */
function readNewCid(reader, to) {
  const [number, floor] = [reader.varint(), reader.varint()];
  const cid = reader.take(CID_BYTES);
  const token = to.isClient ? { reset_token: reader.take(RESET_TOKEN_BYTES) } : {};
  reader.check(floor <= number, `cid ${number} is below its own floor`);
  reader.check(cid.some((byte) => byte !== 0), 'a cid of 0');
  return { frame: 'NEW_CID', number, floor, cid, ...token };
}

/**
 * @param {Receiver} to
 * @param {number} where
 * @param {bigint} number
 */
function came(to, where, number) {
  if (number >= (to.expected.get(where) ?? 0n)) to.expected.set(where, number + 1n);
}

/**
 * @param {Reader} reader behind the type
 * @param {number} type
 * @param {Frame | null} before the MSG before it in this packet
 * @param {Receiver} to
 * @returns {Frame}
 */
function readMessage(reader, type, before, to) {
  const delivery = (type >> 5) & 3;
  let channel;
  let number;
  if (type & 4) {
    reader.check(before !== null && before.delivery === delivery && !(type & 3), 'a successor of nothing');
    channel = before.channel;
    number = before.number + 1n;
  } else {
    channel = reader.small(STREAMS_CHANNEL, 'channel');
    const forStreams = channel === STREAMS_CHANNEL && delivery === 0;
    reader.check(channel < to.channels || forStreams, `channel ${channel}`);
    number = reader.truncated((type & 3) + 1, to.expected.get(lane(channel, delivery)) ?? 0n);
  }
  const message = { frame: 'MSG', channel, delivery, number };
  const most = channel === STREAMS_CHANNEL ? STREAMS_MESSAGE_MAX
    : delivery < 2 ? to.maxMessage : Math.min(to.maxMessage, UNRELIABLE_MESSAGE_MAX);
  if (type & 16) {
    const [offset, total] = [reader.varint(), reader.varint()];
    const body = readPayload(reader, type);
    reader.check(body.length > 0 && offset + BigInt(body.length) <= total, 'a fragment that is empty or too long');
    if (total > BigInt(most)) throw new WireError(`a message of ${total} bytes`, 1009);
    Object.assign(message, { offset: Number(offset), total: Number(total), body });
  } else {
    message.body = readPayload(reader, type);
    if (message.body.length > most) throw new WireError(`a message of ${message.body.length} bytes`, 1009);
  }
  came(to, lane(channel, delivery), number);
  return message;
}

/**
 * @param {Reader} reader
 * @param {number} type
 */
function readPayload(reader, type) {
  return type & 8 ? reader.counted(reader.left, 'payload') : reader.rest();
}

const PAD = Buffer.of(0x00);
const PING = Buffer.of(0x01);

/**
 * @param {[bigint, bigint][]} ranges the lowest and the highest number of each, the highest range first
 * @param {number} delayUs
 * @returns {Buffer}
 */
function ack(ranges, delayUs) {
  const [[low, largest], ...further] = ranges.slice(0, ACK_RANGES_MAX);
  const fields = [largest, Math.floor(delayUs / 8), further.length, largest - low];
  let below = low;
  for (const [next, high] of further) {
    fields.push(below - high - 2n, high - next);
    below = next;
  }
  return Buffer.concat([Buffer.of(0x02), ...fields.map(varint)]);
}

/**
 * @param {number} channel -1 for the connection
 * @param {number} limit
 * @returns {Buffer}
 */
function credit(channel, limit) {
  const head = channel < 0 ? [Buffer.of(0x06)] : [Buffer.of(0x07), varint(channel)];
  return Buffer.concat([...head, varint(limit)]);
}

/**
 * @param {number} channel -1 for the connection
 * @param {number} limit that would be needed
 * @returns {Buffer}
 */
function blocked(channel, limit) {
  return Buffer.concat([Buffer.of(0x08), varint(channel + 1), varint(limit)]);
}

/**
 * @param {Buffer} token of the challenge
 * @returns {Buffer}
 */
function pathResponse(token) {
  return Buffer.concat([Buffer.of(0x0a), token]);
}

/**
 * @param {bigint} number
 * @returns {Buffer}
 */
function retireCid(number) {
  return Buffer.concat([Buffer.of(0x0c), varint(number)]);
}

/**
 * @param {number} code
 * @param {string} reason at most 256 bytes
 * @returns {Buffer}
 */
function close(code, reason) {
  return Buffer.concat([Buffer.of(0x0e), varint(code), counted(Buffer.from(reason))]);
}

/**
 * A message, or the part of it from `offset` to `end`.
 * @param {{channel: number, delivery: number, number: bigint, body: Buffer}} message
 * @param {number} offset
 * @param {number} end
 * @returns {Buffer}
 */
function msg({ channel, delivery, number, body }, offset, end) {
  const whole = offset === 0 && end === body.length;
  const type = 0x80 | (delivery << 5) | (whole ? 0 : 16) | 8 | (NUMBER_BYTES - 1);
  const part = whole ? [] : [varint(offset), varint(body.length)];
  const head = [Buffer.of(type), varint(channel), truncate(NUMBER_BYTES, number), ...part];
  return Buffer.concat([...head, counted(body.subarray(offset, end))]);
}

module.exports = {
  COST_OF_A_MESSAGE, PAD, PING, STREAMS_CHANNEL, ack, blocked, close, credit, lane, msg, pathResponse, readFrames,
  receiver, retireCid,
};
