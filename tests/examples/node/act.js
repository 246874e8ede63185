'use strict';
/**
 * What a connection in Node does with frames that a test makes: a line is the frames of one packet after the other, in
 * hexadecimal; the answer is the code that it closed with, or null, and what it delivered. An object with `packets`
 * is for a client: the answer has what it sends, and of the packets `each` whether it sent something at once.
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
  let next = FIRST;
  const come = (/** @type {string} */ frames) => {
    connection.receive(packets.writeShort(CID, next, [Buffer.from(frames, 'hex')], 'crc32'), 1);
    next += 1n;
  };
  list.forEach((frames) => come(frames));
  return { connection, delivered, end, come };
}

/** @param {string[]} list */
function act(list) {
  const { delivered, end } = begin(list, false);
  return { code: end.code, delivered };
}

/**
 * What a client does: beside the code, each datagram that it sends then, and its probe after `later` came.
 * @param {{packets: string[], each?: string[], later?: string[]}} line
 */
function actAsClient({ packets: list, each = [], later }) {
  const { connection, end, come } = begin(list, true);
  const sent = [];
  const take = (now) => {
    for (let datagram; (datagram = connection.transmit(now));) {
      const { cid, frames } = packets.decode(datagram);
      sent.push({ size: datagram.length, cid, frames: frames.filter(({ frame }) => frame !== 'PAD') });
    }
  };
  take(1);
  const answered = each.map((frames) => {
    const before = sent.length;
    come(frames);
    take(1);
    return sent.length > before;
  });
  if (later) {
    later.forEach((frames) => come(frames));
    const { probeAt } = connection.recovery;
    if (probeAt !== null) connection.expire(probeAt);
    take(probeAt ?? 1);
  }
  return { code: end.code, sent, answered, reset_token: connection.resetToken };
}

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const what = JSON.parse(line);
  process.stdout.write(`${toJson(Array.isArray(what) ? act(what) : actAsClient(what))}\n`);
});
