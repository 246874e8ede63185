'use strict';
/**
 * A client of reliable UDP: the handshake of docs/protocol.md.
 *
 *   const peer = await connect({ host: '127.0.0.1', port: 7000 });
 *   peer.on('message', (body) => console.log(body.toString()));
 *   peer.on('closed', ({ code, reason }) => console.log('closed', code, reason));
 *   peer.send(Buffer.from('hello'));
 *   peer.close();
 */

const dgram = require('node:dgram');
const dns = require('node:dns/promises');
const { randomBytes } = require('node:crypto');
const { performance } = require('node:perf_hooks');
const { WireError, counted } = require('./bytes');
const packets = require('./packets');
const { Peer } = require('./peer');

const HELLO_MS = [300, 450, 675, 1000]; // between the HELLOs; the last for all further ones
const HANDSHAKE_MS = 10000;
const LOST = 1006;
const HANDSHAKE_TIMEOUT = 1101;

/** No connection came about. `code` says why. */
class Refused extends Error {
  /**
   * @param {number} code
   * @param {string} reason
   */
  constructor(code, reason) {
    super(`${code} ${reason}`);
    this.code = code;
  }
}

/** What this side announces unless told otherwise: twice what the largest message costs, in windows. */
const LOCAL = {
  connection_window: 8388608n, channel_window: 4194304n, max_message: 1048576n, checksums: 6n, stream_window: 0n,
};

/**
 * @param {object} to
 * @param {string} to.host
 * @param {number} to.port
 * @param {Record<string, any>} [to.parameters] to announce, by the names of docs/protocol.md
 * @returns {Promise<Peer>} rejected with `Refused`
 */
async function connect({ host, port, parameters = {} }) {
  const { address, family } = await dns.lookup(host);
  const socket = dgram.createSocket(family === 6 ? 'udp6' : 'udp4');
  await new Promise((resolve) => { socket.connect(port, address, () => resolve(undefined)); });
  return new Promise((resolve, reject) => { new Handshake(socket, { ...LOCAL, ...parameters }, resolve, reject); });
}

/** A client that is opening. */
class Handshake {
  /**
   * @param {dgram.Socket} socket
   * @param {Record<string, any>} announced
   * @param {(peer: Peer) => void} resolve
   * @param {(why: Refused) => void} reject
   */
  constructor(socket, announced, resolve, reject) {
    this.socket = socket;
    this.announced = announced;
    this.resolve = resolve;
    this.reject = reject;
    this.cid = newCid();
    this.cookie = Buffer.alloc(0);
    this.helloAt = 0;
    this.hellos = 0; // with the present cookie
    /** @type {NodeJS.Timeout | undefined} */
    this.timer = undefined;
    this.end = setTimeout(() => this.fail(HANDSHAKE_TIMEOUT, 'no answer'), HANDSHAKE_MS);
    socket.on('message', (datagram) => this.receive(datagram));
    socket.on('error', () => this.fail(LOST, 'nobody is there'));
    this.hello();
  }

  hello() {
    const body = Buffer.concat([counted(this.cookie), counted(packets.writeParameters(this.announced))]);
    const datagram = packets.writeLong('HELLO', packets.NO_CID, this.cid.toString('hex'), body);
    for (let i = 0; i < (this.hellos ? 2 : 1); i++) this.socket.send(datagram);
    this.helloAt = performance.now();
    this.timer = setTimeout(() => this.hello(), HELLO_MS[Math.min(this.hellos, HELLO_MS.length - 1)]);
    this.hellos += 1;
  }

  /** @param {Buffer} datagram */
  receive(datagram) {
    let packet;
    try {
      packet = packets.readLong(datagram);
    } catch (error) {
      if (error instanceof WireError) return;
      throw error;
    }
    if (packet.dcid !== this.cid.toString('hex')) return;
    if (packet.packet === 'RETRY' && !packet.cookie.equals(this.cookie)) {
      this.cookie = Buffer.from(packet.cookie);
      this.hellos = 0;
      clearTimeout(this.timer);
      this.hello();
    }
    if (packet.packet === 'REFUSE') this.fail(packet.code, packet.reason);
    if (packet.packet === 'ACCEPT') this.open(Buffer.from(packet.scid, 'hex'), packet.parameters);
  }

  /**
   * @param {Buffer} theirs
   * @param {Record<string, any>} parameters of the server
   */
  open(theirs, parameters) {
    this.stop();
    const { socket } = this;
    const [local, remote] = [this.announced, parameters].map(packets.withDefaults);
    const peer = new Peer({ mine: this.cid, theirs, local, remote, open: true }, (datagram) => socket.send(datagram));
    if (this.hellos === 1) peer.connection.recovery.sample(performance.now() - this.helloAt, 0);
    socket.on('message', (datagram) => peer.receive(datagram));
    socket.on('error', () => peer.unreachable());
    peer.on('over', () => socket.close());
    this.resolve(peer);
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  fail(code, reason) {
    this.stop();
    this.socket.close();
    this.reject(new Refused(code, reason));
  }

  stop() {
    clearTimeout(this.timer);
    clearTimeout(this.end);
    this.socket.removeAllListeners();
  }
}

/** @returns {Buffer} that nobody foresees, and that is not 0 */
function newCid() {
  const cid = randomBytes(8);
  cid[0] |= 1;
  return cid;
}

module.exports = { LOCAL, Refused, connect, newCid };
