'use strict';
/**
 * The packets of reliable UDP (docs/protocol.md, "SHORT packets" to "Parameters of a connection"), from bytes to
 * objects and back, with their checksums.
 */

const { Reader, VARINT_MAX, WireError, counted, text, truncate, varint } = require('./bytes');
const frames = require('./frames');

const VERSION = '74720001';
const NO_CID = '0000000000000000';
const HELLO_BYTES_MIN = 1200;
const LONG_BYTES_MIN = 25;
const COOKIE_BYTES_MAX = 255;
const PARAMETERS_BYTES_MAX = 1024;
const REASON_BYTES_MAX = 256;
const VERSIONS_MAX = 16;
const CHECKSUM_BYTES = 4;
const NUMBER_BYTES = 4;
const DROPPED = 0; // the code of what ends no connection
const KINDS = ['HELLO', 'RETRY', 'ACCEPT', 'REFUSE'];

/** By id. `least` and `most` are those of a number. */
const PARAMETERS = new Map([
  [1n, { name: 'max_ack_delay_us', least: 0n, most: 1000000n, absent: 5000n }],
  [2n, { name: 'idle_ms', least: 0n, most: VARINT_MAX, absent: 30000n }],
  [3n, { name: 'max_datagram', least: 1200n, most: VARINT_MAX, absent: 1200n }],
  [4n, { name: 'connection_window', least: 1n, most: VARINT_MAX, absent: 262144n }],
  [5n, { name: 'channel_window', least: 1n, most: VARINT_MAX, absent: 262144n }],
  [6n, { name: 'max_message', least: 1n, most: VARINT_MAX, absent: 1048576n }],
  [7n, { name: 'channels', least: 1n, most: VARINT_MAX, absent: 256n }],
  [8n, { name: 'checksums', least: 0n, most: VARINT_MAX, absent: 2n }],
  [9n, { name: 'codec', absent: '' }],
  [10n, { name: 'reset_token', absent: null }],
  [11n, { name: 'stream_window', least: 0n, most: VARINT_MAX, absent: 1048576n }],
]);

/** @type {Record<string, Uint32Array>} */
const TABLES = { crc32: table(0xedb88320), crc32c: table(0x82f63b78) };

/** @param {number} polynomial */
function table(polynomial) {
  return Uint32Array.from({ length: 256 }, (_, byte) => {
    let value = byte;
    for (let i = 0; i < 8; i++) value = (value >>> 1) ^ (value & 1 ? polynomial : 0);
    return value;
  });
}

/**
 * @param {string} kind
 * @param {Buffer} bytes
 * @param {number} [from] the checksum of what would stand before them
 */
function checksum(kind, bytes, from = 0) {
  const of = TABLES[kind];
  let register = ~from;
  for (const byte of bytes) register = (register >>> 8) ^ of[(register ^ byte) & 0xff];
  return ~register >>> 0;
}

/**
 * @param {string} kind
 * @param {Buffer} bytes
 * @param {number} [from]
 */
function sealed(kind, bytes, from) {
  const sum = Buffer.alloc(CHECKSUM_BYTES);
  sum.writeUInt32BE(checksum(kind, bytes, from));
  return Buffer.concat([bytes, sum]);
}

/**
 * The low 32 bits of a cid, from which the checksum of its packets goes on.
 * @param {Buffer} cid
 */
function beginning(cid) {
  return cid.readUInt32BE(4);
}

/**
 * What both sides of a connection use, from what each takes.
 * @param {bigint} mine
 * @param {bigint} theirs
 */
function agreedChecksum(mine, theirs) {
  const both = mine & theirs;
  if (both & 1n) return 'none';
  return both & 4n ? 'crc32c' : 'crc32';
}

/**
 * @param {Buffer} bytes
 * @returns {Record<string, any>} the parameters that are there
 */
function readParameters(bytes) {
  const reader = new Reader(bytes, DROPPED);
  const seen = new Set();
  /** @type {Record<string, any>} */
  const parameters = {};
  while (reader.left) {
    const id = reader.varint();
    const value = new Reader(reader.counted(PARAMETERS_BYTES_MAX, 'a parameter'), DROPPED);
    reader.check(!seen.has(id), `parameter ${id} stands twice`);
    seen.add(id);
    const { name, least, most } = PARAMETERS.get(id) ?? {};
    if (name === undefined) continue;
    if (name === 'codec') {
      parameters.codec = text(value.rest(), DROPPED);
    } else if (name === 'reset_token') {
      reader.check(value.left === 16, 'a token that has not 16 bytes');
      parameters.reset_token = value.rest();
    } else {
      const number = value.varint();
      reader.check(!value.left && number >= least && number <= most, `${name}: ${number}, or bytes behind it`);
      parameters[name] = number;
    }
  }
  return parameters;
}

/**
 * @param {Record<string, any>} given
 * @returns {Record<string, any>} all parameters, with the values of those that are absent
 */
function withDefaults(given) {
  const all = Object.fromEntries([...PARAMETERS.values()].map(({ name, absent }) => {
    const value = given[name] ?? absent;
    return [name, typeof value === 'number' ? BigInt(value) : value];
  }));
  if (all.channels > 256n) all.channels = 256n;
  return all;
}

/**
 * @param {Record<string, any>} parameters
 * @returns {Buffer}
 */
function writeParameters(parameters) {
  const parts = [];
  for (const [id, { name }] of PARAMETERS) {
    const value = parameters[name];
    if (value === undefined || value === null) continue;
    const bytes = name === 'codec' ? Buffer.from(value) : name === 'reset_token' ? value : varint(value);
    parts.push(varint(id), counted(bytes));
  }
  return Buffer.concat(parts);
}

/**
 * A packet of the handshake, its cids in hexadecimal.
 * @param {Buffer} datagram
 * @returns {{packet: string, version: string, dcid: string, scid: string, [field: string]: any}}
 */
function readLong(datagram) {
  const reader = new Reader(datagram.subarray(0, -CHECKSUM_BYTES), DROPPED);
  reader.check(datagram.length >= LONG_BYTES_MIN, 'too short');
  const sum = datagram.readUInt32BE(datagram.length - CHECKSUM_BYTES);
  reader.check(checksum('crc32', reader.bytes) === sum, 'wrong checksum');
  const flags = reader.byte();
  reader.check(flags >= 0xc0, 'no LONG packet');
  const kind = KINDS[(flags >> 4) & 3];
  const [version, dcid, scid] = [4, 8, 8].map((size) => reader.take(size).toString('hex'));
  reader.check((dcid === NO_CID) === (kind === 'HELLO'), `${kind} with dcid ${dcid}`);
  reader.check((scid === NO_CID) === (kind === 'RETRY' || kind === 'REFUSE'), `${kind} with scid ${scid}`);
  reader.check(kind !== 'HELLO' || datagram.length >= HELLO_BYTES_MIN, 'a HELLO that is too short');
  const head = { packet: kind, version, dcid, scid };
  if (version !== VERSION && kind === 'HELLO') return head; // the rest is its own affair
  reader.check(version === VERSION || kind === 'REFUSE', `version ${version}`);
  reader.check(version !== VERSION || !(flags & 0x0f), 'a reserved bit');
  return { ...head, ...LONG_BODIES[kind](reader) };
}

/** @type {Record<string, (reader: Reader) => object>} */
const LONG_BODIES = {
  HELLO: (reader) => ({ cookie: reader.counted(COOKIE_BYTES_MAX, 'cookie'), parameters: parametersOf(reader) }),
  RETRY: (reader) => {
    const cookie = reader.counted(COOKIE_BYTES_MAX, 'cookie');
    reader.check(cookie.length > 0, 'no cookie');
    return { cookie };
  },
  ACCEPT: (reader) => ({ parameters: parametersOf(reader) }),
  REFUSE: (reader) => {
    const code = reader.small(65535, 'code');
    const reason = reader.counted(REASON_BYTES_MAX, 'reason').toString('utf8');
    const count = reader.small(VERSIONS_MAX, 'versions');
    return { code, reason, versions: Array.from({ length: count }, () => reader.take(4).toString('hex')) };
  },
};

/** @param {Reader} reader */
function parametersOf(reader) {
  return readParameters(reader.counted(PARAMETERS_BYTES_MAX, 'parameters'));
}

/**
 * A packet of the handshake.
 * @param {string} kind
 * @param {string} dcid
 * @param {string} scid
 * @param {Buffer} body
 * @returns {Buffer}
 */
function writeLong(kind, dcid, scid, body) {
  const head = Buffer.from(`${(0xc0 | (KINDS.indexOf(kind) << 4)).toString(16)}${VERSION}${dcid}${scid}`, 'hex');
  const rest = kind === 'HELLO' ? HELLO_BYTES_MIN - CHECKSUM_BYTES - head.length - body.length : 0;
  return sealed('crc32', Buffer.concat([head, body, Buffer.alloc(Math.max(0, rest))]));
}

/**
 * An ordinary packet up to its frames, which `frames.readFrames` reads.
 * @param {Buffer} datagram
 * @param {string} kind of the checksum that was agreed
 * @param {bigint} expected the number behind the largest that came
 */
function readShort(datagram, kind, expected) {
  const sumBytes = kind === 'none' ? 0 : CHECKSUM_BYTES;
  const reader = new Reader(datagram.subarray(0, datagram.length - sumBytes), DROPPED);
  const flags = reader.byte();
  reader.check((flags & 0xec) === 0x40, 'no SHORT packet, or a reserved bit');
  const cid = reader.take(8);
  const number = reader.truncated((flags & 3) + 1, expected);
  reader.check(reader.left > 0, 'no frame');
  if (sumBytes) {
    const sum = datagram.readUInt32BE(datagram.length - sumBytes);
    reader.check(checksum(kind, reader.bytes, beginning(cid)) === sum, 'wrong checksum');
  }
  return { cid: cid.toString('hex'), number, copies: Boolean(flags & 0x10), frames: reader.rest() };
}

/**
 * @param {Buffer} cid
 * @param {bigint} number
 * @param {Buffer[]} parts its frames
 * @param {string} kind of the checksum
 * @returns {Buffer}
 */
function writeShort(cid, number, parts, kind) {
  const packet = Buffer.concat([Buffer.of(0x40 | (NUMBER_BYTES - 1)), cid, truncate(NUMBER_BYTES, number), ...parts]);
  return kind === 'none' ? packet : sealed(kind, packet, beginning(cid));
}

/** Bytes of a SHORT packet beside its frames, as we write it. */
const SHORT_HEAD_BYTES = 1 + 8 + NUMBER_BYTES;

/**
 * Any datagram, as an object; for bytes that are no packet, an object with `error` and `code`. Never throws for what
 * the bytes are.
 * @param {Buffer} datagram
 * @param {{kind?: string, expected?: bigint, to?: frames.Receiver}} [known] of the connection: its checksum, the
 *   packet number that is expected, and what the receiver has
 */
function decode(datagram, { kind = 'crc32', expected = 0n, to = frames.receiver() } = {}) {
  try {
    if (datagram.length && datagram[0] >= 0xc0) return readLong(datagram);
    const { frames: bytes, ...head } = readShort(datagram, kind, expected);
    return { packet: 'SHORT', ...head, frames: [...frames.readFrames(bytes, to)] };
  } catch (error) {
    if (error instanceof WireError) return { error: error.message, code: error.code };
    throw error;
  }
}

module.exports = {
  CHECKSUM_BYTES, NO_CID, SHORT_HEAD_BYTES, VERSION, agreedChecksum, checksum, decode, readLong, readParameters,
  readShort, withDefaults, writeLong, writeParameters, writeShort,
};
