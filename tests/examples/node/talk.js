'use strict';
/**
 * What the tests let a peer in Node do. It says JSON lines.
 *
 *   node talk.js ask '{"port": 7000, "sizes": [0, 100]}'    sends these messages, wants each back, says goodbye
 *   node talk.js echo '{"port": 7000}'                      sends back what comes until the server says goodbye
 *   node talk.js count '{"port": 7000}'                     counts until then, by channel and delivery
 *   node talk.js cids '{"port": 7000}'                     answers each message with how many spare cids it has
 *   node talk.js serve '{}'                                 a server that sends back what comes
 *
 * A line on stdin has a client say PING, and ends a server.
 */

const { createHash } = require('node:crypto');
const readline = require('node:readline');
const { Refused, connect } = require('../../../examples/node/client');
const { serve } = require('../../../examples/node/server');

const HOST = '127.0.0.1';

/** @param {object} what */
function say(what) {
  process.stdout.write(`${JSON.stringify(what)}\n`);
}

/**
 * The message with that index, as running.py makes it, too.
 * @param {number} index
 * @param {number} size
 */
function body(index, size) {
  return Buffer.alloc(size, createHash('sha256').update(String(index)).digest());
}

/** @param {import('../../../examples/node/peer').Peer} peer */
function echo(peer) {
  peer.on('message', (bytes, channel, delivery) => peer.send(bytes, { channel, delivery }));
  peer.on('closed', (end) => say({ closed: end }));
}

/**
 * @param {import('../../../examples/node/peer').Peer} peer
 * @param {{sizes: number[]}} about
 */
function ask(peer, { sizes }) {
  let answers = 0;
  let wrong = 0;
  peer.on('message', (bytes) => {
    if (!bytes.equals(body(answers, sizes[answers]))) wrong += 1;
    answers += 1;
    if (answers === sizes.length) peer.close(0, 'bye');
  });
  peer.on('closed', (end) => say({ answers, wrong, closed: end }));
  peer.ping();
  sizes.forEach((size, index) => peer.send(body(index, size)));
}

/** @param {import('../../../examples/node/peer').Peer} peer */
function count(peer) {
  const counts = {};
  peer.on('message', (_, channel, delivery) => {
    counts[`${channel} ${delivery}`] = (counts[`${channel} ${delivery}`] ?? 0) + 1;
  });
  peer.on('closed', (end) => {
    say({ counts });
    say({ closed: end });
  });
}

/** @param {import('../../../examples/node/peer').Peer} peer */
function cids(peer) {
  peer.on('message', () => peer.send(Buffer.of(peer.connection.cids.spare.size)));
  peer.on('closed', (end) => say({ closed: end }));
}

async function main() {
  const lines = readline.createInterface({ input: process.stdin });
  const [mode, json] = process.argv.slice(2);
  const { port = 0, parameters, key, ...about } = JSON.parse(json);
  const to = { host: HOST, port, parameters: { codec: 'raw', ...parameters } };
  if (mode === 'serve') {
    const server = await serve({ ...to, key: key && Buffer.from(key, 'hex') }, echo);
    say({ port: server.port });
    lines.once('line', () => {
      server.close();
      process.stdin.destroy();
    });
    return;
  }
  try {
    const peer = await connect(to);
    say({ open: true });
    lines.on('line', () => peer.ping());
    peer.on('over', () => process.stdin.destroy());
    ({ ask, cids, count, echo })[mode](peer, about);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    say({ refused: error.code });
    process.stdin.destroy();
  }
}

main();
