'use strict';
/**
 * The `message` framing of docs/protocol.md, from bytes to objects. Over reliable UDP its stream frames are what the
 * messages of channel 256 consist of.
 */

const { Reader, WireError, counted, text, varint } = require('./bytes');

const CHUNK_BYTES_MAX = 65544;
const CONTROL_BYTES_MAX = 1024;
const REASON_BYTES_MAX = 256;
const KINDS = [
  'MESSAGE', 'CHANNEL_CREDIT', 'CONNECTION_CREDIT', 'PING', 'PONG', 'CLOSE',
  'STREAM_OPEN', 'STREAM_DATA', 'STREAM_END', 'STREAM_RESET', 'STREAM_CREDIT',
];
const PARAMETERS = ['', 'max_message', 'channels', 'channel_window', 'connection_window', 'stream_window', 'codec'];

/**
 * @param {Reader} reader
 * @returns {object}
 */
function readPreface(reader) {
  reader.check(reader.take(4).toString('hex') === 'd4545270', 'wrong magic');
  const version = reader.byte();
  reader.check(version === 1, `version ${version}`);
  const size = Number(reader.fixed(2));
  reader.check(size <= 1024, 'parameters are too long');
  const parameters = new Reader(reader.take(size));
  const preface = { preface: version };
  const seen = new Set();
  while (parameters.left) {
    const id = parameters.varint();
    const value = new Reader(parameters.counted(1024, 'a parameter'));
    parameters.check(!seen.has(id), `parameter ${id} stands twice`);
    seen.add(id);
    const name = PARAMETERS[Number(id)];
    if (!name) continue;
    if (name === 'codec') {
      preface.codec = text(value.rest(), 1002);
      continue;
    }
    preface[name] = value.varint();
    value.check(!value.left, `bytes behind the number of ${name}`);
    value.check(preface[name] > 0n || name === 'stream_window', `${name} is 0`);
  }
  return preface;
}

/**
 * What a frame says, by its kind. Bytes behind the fields are left to the caller, who ignores them.
 * @type {Record<string, (body: Reader) => object>}
 */
const BODIES = {
  MESSAGE: (body) => ({ body: body.rest() }),
  CHANNEL_CREDIT: (body) => ({ limit: body.varint() }),
  CONNECTION_CREDIT: (body) => ({ limit: body.varint() }),
  PING: (body) => ({ body: eight(body) }),
  PONG: (body) => ({ body: eight(body) }),
  CLOSE: (body) => ({ code: body.small(65535, 'code'), reason: reason(body) }),
  STREAM_OPEN: (body) => ({ stream: body.varint(), total: body.varint() - 1n }),
  STREAM_DATA: (body) => ({ stream: body.varint(), body: body.rest() }),
  STREAM_END: (body) => ({ stream: body.varint() }),
  STREAM_RESET: (body) => ({ stream: body.varint(), code: body.varint(), side: body.varint() }),
  STREAM_CREDIT: (body) => ({ stream: body.varint(), limit: body.varint() }),
};

/** @param {Reader} body */
function eight(body) {
  body.check(body.left === 8, 'a ping of another size than 8');
  return body.rest();
}

/** @param {Reader} body */
function reason(body) {
  return body.rest().subarray(0, REASON_BYTES_MAX).toString('utf8');
}

/**
 * One frame from the front. Of one that has to be passed over nothing is told but its kind, a number.
 * @param {Reader} reader
 * @param {{channels?: number, maxMessage?: number}} [limits]
 * @returns {{kind: string | number, [field: string]: any}}
 */
function readFrame(reader, { channels = 256, maxMessage = 2 ** 20 } = {}) {
  const head = reader.byte();
  const kind = KINDS[head >> 4];
  reader.check((head >> 4) !== 11, 'a frame of kind 11');
  reader.check(!(head & 4), 'a reserved bit');
  const channel = head & 8 ? reader.varint() : 0n;
  reader.check(channel < BigInt(channels), `channel ${channel}`);
  const most = kind === 'MESSAGE' ? maxMessage : kind === 'STREAM_DATA' ? CHUNK_BYTES_MAX : CONTROL_BYTES_MAX;
  const length = reader.varint();
  if (length > BigInt(most)) throw new WireError(`a body of ${length} bytes`, 1009);
  const body = new Reader(reader.take(Number(length)));
  if (!kind) return { kind: head >> 4 };
  const where = ['MESSAGE', 'CHANNEL_CREDIT', 'STREAM_OPEN'].includes(kind) ? { channel } : {};
  const how = kind === 'MESSAGE' ? { delivery: head & 3 } : {};
  return { kind, ...where, ...how, ...BODIES[kind](body) };
}

/**
 * Whole frames, up to the end of the bytes.
 * @param {Buffer} bytes
 * @param {{channels?: number, maxMessage?: number}} [limits]
 */
function readFrames(bytes, limits) {
  const reader = new Reader(bytes);
  const frames = [];
  while (reader.left) frames.push(readFrame(reader, limits));
  return frames;
}

/**
 * @param {bigint} stream one that the peer opened
 * @param {number} code
 * @returns {Buffer}
 */
function streamReset(stream, code) {
  return Buffer.concat([Buffer.of(0x90), counted(Buffer.concat([varint(stream), varint(code), varint(1)]))]);
}

module.exports = { readFrames, readPreface, streamReset };
