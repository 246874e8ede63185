'use strict';
/**
 * What a connection in Node does with frames that a test makes: a line is the frames of one packet after the other, in
 * hexadecimal; the answer is the code that it closed with, or null, and what it delivered.
 */

const readline = require('node:readline');
const { Connection } = require('../../../examples/node/connection');
const packets = require('../../../examples/node/packets');

const CID = Buffer.alloc(8, 0x22);
const FIRST = 40n; // the number of the first packet
const parameters = packets.withDefaults({ max_message: 65536, channels: 4 });

/** @param {string[]} list */
function act(list) {
  const delivered = [];
  let code = null;
  const handlers = {
    opened() {},
    message: (body, channel, delivery) => delivered.push([channel, delivery, body.toString('hex')]),
    closed: (end) => { code = end.code; },
  };
  const about = { mine: CID, theirs: Buffer.alloc(8, 0x11), local: parameters, remote: parameters, open: false };
  const connection = new Connection({ ...about, handlers }, 0);
  connection.recovery.number(); // it has sent one packet, which may be acknowledged
  list.forEach((frames, index) => {
    const packet = packets.writeShort(CID, FIRST + BigInt(index), [Buffer.from(frames, 'hex')], 'crc32');
    connection.receive(packet, 1);
  });
  return { code, delivered };
}

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  process.stdout.write(`${JSON.stringify(act(JSON.parse(line)))}\n`);
});
