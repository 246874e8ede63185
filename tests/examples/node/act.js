'use strict';
/**
 * What a connection in Node does with frames that a test makes: a line is the frames of one packet after the other, in
 * hexadecimal; the answer is the code that it closed with, or null, and what it delivered. An object with `packets`
 * is for a client: the answer has what it sends.
 */

const readline = require('node:readline');
const { Connection } = require('../../../examples/node/connection');
const { toJson } = require('../../../examples/node/bytes');
const packets = require('../../../examples/node/packets');

const CID = Buffer.alloc(8, 0x22);
const FIRST = 40n; // the number of the first packet
const parameters = packets.withDefaults({ max_message: 65536, channels: 4 });

/**
 * @param {string[]} list
 * @param {boolean} isClient
 */
function begin(list, isClient) {
  const delivered = [];
  const end = { code: null };
  const handlers = {
    opened() {},
    message: (body, channel, delivery) => delivered.push([channel, delivery, body.toString('hex')]),
    closed: ({ code }) => { end.code = code; },
  };
  const about = { mine: CID, theirs: Buffer.alloc(8, 0x11), local: parameters, remote: parameters, open: isClient };
  const connection = new Connection({ ...about, handlers }, 0);
  connection.recovery.number(); // it has sent one packet, which may be acknowledged
  connection.recovery.gap = -1n; // and leaves no number out
  list.forEach((frames, index) => {
    const packet = packets.writeShort(CID, FIRST + BigInt(index), [Buffer.from(frames, 'hex')], 'crc32');
    connection.receive(packet, 1);
  });
  return { connection, delivered, end };
}

/** @param {string[]} list */
function act(list) {
  const { delivered, end } = begin(list, false);
  return { code: end.code, delivered };
}

/**
 * What a client does: beside the code, each datagram that it sends then, up to its probe if `probes`.
 * @param {{packets: string[], probes?: boolean}} line
 */
function actAsClient({ packets: list, probes = false }) {
  const { connection, end } = begin(list, true);
  const sent = [];
  const take = (now) => {
    for (let datagram; (datagram = connection.transmit(now));) {
      const { cid, frames } = packets.decode(datagram);
      sent.push({ size: datagram.length, cid, frames: frames.filter(({ frame }) => frame !== 'PAD') });
    }
  };
  take(1);
  if (probes) {
    connection.expire(connection.recovery.probeAt);
    take(connection.recovery.lastAt);
  }
  return { code: end.code, sent, reset_token: connection.resetToken };
}

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const what = JSON.parse(line);
  process.stdout.write(`${toJson(Array.isArray(what) ? act(what) : actAsClient(what))}\n`);
});
