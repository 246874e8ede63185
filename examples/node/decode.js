'use strict';
/**
 * Says what bytes mean, in the words of docs/protocol.md: JSON lines in, JSON lines out.
 *
 *   echo '{"datagram": "400123456789abcdef0001bac2e94e"}' | node examples/node/decode.js
 *
 * Beside `datagram`, with its `checksum` (crc32 if it is not said), a line may have `frames` or `parameters` of
 * reliable UDP, or a `preface` or `pipe` (frames) of the `message` framing. `channels` and `max_message` say what the
 * reader announced, `by_client` that a client wrote it. Datagrams with the same `from` are those of one direction of a
 * connection, in the order in which they came; without it nothing has come before, or the packet number `expected` (a
 * string, if it is large) is next. What is wrong is told as `error`, with the `code` that a connection ends with, 0 if
 * only the datagram is dropped.
 */

const readline = require('node:readline');
const { Reader, WireError, toJson } = require('./bytes');
const frames = require('./frames');
const packets = require('./packets');
const pipe = require('./pipe');

/** @type {Map<string, {expected: bigint, to: frames.Receiver}>} */
const directions = new Map();

/**
 * @param {Record<string, any>} line
 * @returns {unknown} its meaning
 */
function meaning({ channels, max_message: maxMessage, by_client: byClient = false, ...line }) {
  const limits = { channels, maxMessage, isClient: !byClient };
  const bytes = (name) => Buffer.from(line[name], 'hex');
  if ('preface' in line) return pipe.readPreface(new Reader(bytes('preface')));
  if ('pipe' in line) return pipe.readFrames(bytes('pipe'), limits);
  if ('parameters' in line) return packets.readParameters(bytes('parameters'));
  if ('frames' in line) return [...frames.readFrames(bytes('frames'), frames.receiver(limits))];
  const known = directions.get(line.from) ?? { expected: BigInt(line.expected ?? 0), to: frames.receiver(limits) };
  const packet = packets.decode(bytes('datagram'), { kind: line.checksum, ...known });
  if ('number' in packet && packet.number >= known.expected) known.expected = packet.number + 1n;
  if (line.from !== undefined) directions.set(line.from, known);
  return packet;
}

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  let said;
  try {
    said = meaning(JSON.parse(line));
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    said = { error: error.message, code: error.code };
  }
  process.stdout.write(`${toJson(said)}\n`);
});
