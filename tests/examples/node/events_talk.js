'use strict';
/** What examples/node/events.js does, told line by line: a command as JSON comes in, what happens goes out. */

const readline = require('node:readline');
const { EventsClient } = require('../../../examples/node/events');

const plain = (key, value) => (typeof value === 'bigint' ? String(value) : value);
const say = (...told) => process.stdout.write(`${JSON.stringify(told, plain)}\n`);
const on = {
  event: (name, data, where) => say('event', name, data, where),
  gap: (room, gap) => say('gap', room, gap),
  caughtUp: (room, count) => say('caughtUp', room, count),
  closed: ({ refused }) => say('closed', refused && refused.reason),
  call: (name, data) => data + 1,
};
let client;

const commands = {
  open: (options) => { client = new EventsClient({ ...options, on }); return client.connect().then(() => null); },
  again: () => client.connect().then(() => null),
  drop: () => client.drop(),
  join: (room) => client.join(room),
  call: (data) => client.call('echo', data),
  emit: (data) => client.emit('echo', data),
  state: () => client.state(),
};

readline.createInterface({ input: process.stdin }).on('line', async (line) => {
  const [name, argument] = JSON.parse(line);
  try {
    say('done', name, await commands[name](argument));
  } catch (error) {
    say('failed', name, error.message);
  }
}).on('close', () => process.exit(0));
