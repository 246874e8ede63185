'use strict';
/**
 * A small server of reliable UDP. It takes everybody, asks nobody for a cookie, and gives no streams.
 *
 *   const server = await serve({ host: '127.0.0.1', port: 7000 }, (peer) => {
 *     peer.on('message', (body, channel, delivery) => peer.send(body, { channel, delivery }));
 *   });
 */

const dgram = require('node:dgram');
const { createHmac, randomBytes, randomInt } = require('node:crypto');
const { WireError, counted, varint } = require('./bytes');
const { LOCAL, newCid } = require('./client');
const packets = require('./packets');
const { Peer } = require('./peer');

const HALF_OPEN_MAX = 1024;
const HALF_OPEN_MS = 10000;
const RESETS_PER_S = 10;
const RESET_BYTES_MIN = 37;
const RESET_BYTES_MAX = 57;
const TOKEN_BYTES = 16;
const GOING_AWAY = 1001;
const PROTOCOL_ERROR = 1002;
const CODEC_MISMATCH = 1104;

/**
 * @typedef {object} Entry
 * @property {Peer} peer
 * @property {string} from the address and the client's cid
 * @property {Buffer} accept
 * @property {NodeJS.Timeout | undefined} halfOpen runs until the first SHORT packet
 */

/**
 * @param {object} at
 * @param {string} at.host
 * @param {number} at.port 0 for any
 * @param {Record<string, any>} [at.parameters] to announce, by the names of docs/protocol.md
 * @param {Buffer} [at.key] by which a server that is started again says that it has forgotten its clients
 * @param {(peer: Peer) => void} opened is told of each client, before its first message
 * @returns {Promise<Server>}
 */
async function serve({ host, port, parameters = {}, key = randomBytes(32) }, opened) {
  const socket = dgram.createSocket(host.includes(':') ? 'udp6' : 'udp4');
  await new Promise((resolve) => { socket.bind(port, host, () => resolve(undefined)); });
  return new Server(socket, { ...LOCAL, ...parameters }, key, opened);
}

class Server {
  /**
   * @param {dgram.Socket} socket
   * @param {Record<string, any>} announced
   * @param {Buffer} key
   * @param {(peer: Peer) => void} opened
   */
  constructor(socket, announced, key, opened) {
    this.socket = socket;
    this.announced = announced;
    this.opened = opened;
    this.key = key;
    /** @type {Map<string, Entry>} by our cid */
    this.byCid = new Map();
    /** @type {Map<string, Entry>} by where HELLO came from */
    this.byHello = new Map();
    this.resets = { second: 0, count: 0 };
    socket.on('message', (datagram, from) => this.receive(datagram, from));
  }

  get port() {
    return this.socket.address().port;
  }

  /** Says goodbye to everybody. The socket goes when all have answered, or can be waited for no longer. */
  close() {
    for (const { peer, halfOpen } of this.byCid.values()) {
      if (halfOpen === undefined) peer.close(GOING_AWAY, 'the server closes');
      else this.forget(peer);
    }
    this.closing = true;
    this.forget(null);
  }

  /**
   * @param {Peer | null} peer
   */
  forget(peer) {
    for (const [cid, entry] of this.byCid) {
      if (entry.peer !== peer) continue;
      clearTimeout(entry.halfOpen);
      this.byCid.delete(cid);
      this.byHello.delete(entry.from);
    }
    if (this.closing && !this.byCid.size) this.socket.close();
  }

  /**
   * @param {Buffer} datagram
   * @param {dgram.RemoteInfo} from
   */
  receive(datagram, from) {
    if (datagram[0] >= 0xc0) {
      this.long(datagram, from);
      return;
    }
    const cid = datagram.subarray(1, 9);
    const entry = this.byCid.get(cid.toString('hex'));
    if (!entry) this.reset(datagram, cid, from);
    else entry.peer.receive(datagram);
  }

  /**
   * @param {Buffer} datagram
   * @param {dgram.RemoteInfo} from
   */
  long(datagram, from) {
    let hello;
    try {
      hello = packets.readLong(datagram);
    } catch (error) {
      if (error instanceof WireError) return;
      throw error;
    }
    if (hello.packet !== 'HELLO' || this.closing) return;
    const refused = this.refusal(hello);
    if (refused) {
      this.put(packets.writeLong('REFUSE', hello.scid, packets.NO_CID, refused), from);
      return;
    }
    const key = `${from.address} ${from.port} ${hello.scid}`;
    const entry = this.byHello.get(key) ?? this.halfOpen(hello, key, from);
    if (entry.halfOpen !== undefined) this.put(entry.accept, from);
  }

  /**
   * @param {ReturnType<typeof packets.readLong>} hello
   * @returns {Buffer | null} the body of a REFUSE
   */
  refusal({ version, parameters }) {
    const body = (code, reason, versions) => Buffer.concat([
      varint(code), counted(Buffer.from(reason)), varint(versions.length),
      ...versions.map((of) => Buffer.from(of, 'hex')),
    ]);
    if (version !== packets.VERSION) return body(PROTOCOL_ERROR, 'version', [packets.VERSION]);
    const codecs = [parameters.codec, this.announced.codec].filter(Boolean);
    return codecs.length === 2 && codecs[0] !== codecs[1] ? body(CODEC_MISMATCH, 'codec', []) : null;
  }

  /**
   * A new client.
   * @param {ReturnType<typeof packets.readLong>} hello
   * @param {string} key
   * @param {dgram.RemoteInfo} from
   * @returns {Entry}
   */
  halfOpen({ scid, parameters }, key, from) {
    const waiting = [...this.byCid.values()].filter(({ halfOpen }) => halfOpen !== undefined);
    if (waiting.length >= HALF_OPEN_MAX) this.forget(waiting[0].peer);
    const mine = newCid();
    const announced = { ...this.announced, reset_token: this.token(mine) };
    const [local, remote] = [announced, parameters].map(packets.withDefaults);
    const theirs = Buffer.from(scid, 'hex');
    const peer = new Peer({ mine, theirs, local, remote, open: false }, (packet) => this.put(packet, from));
    const body = counted(packets.writeParameters(announced));
    const entry = {
      peer,
      from: key,
      accept: packets.writeLong('ACCEPT', scid, mine.toString('hex'), body),
      halfOpen: setTimeout(() => this.forget(peer), HALF_OPEN_MS),
    };
    peer.on('opened', () => {
      clearTimeout(entry.halfOpen);
      entry.halfOpen = undefined;
      this.opened(peer);
    });
    peer.on('over', () => this.forget(peer));
    this.byCid.set(mine.toString('hex'), entry);
    this.byHello.set(key, entry);
    return entry;
  }

  /**
   * @param {Buffer} cid
   * @returns {Buffer} by which the client knows a RESET
   */
  token(cid) {
    return createHmac('sha256', this.key).update(cid).digest().subarray(0, TOKEN_BYTES);
  }

  /**
   * Tells somebody that his connection is unknown here.
   * @param {Buffer} datagram
   * @param {Buffer} cid
   * @param {dgram.RemoteInfo} from
   */
  reset(datagram, cid, from) {
    if (datagram.length <= RESET_BYTES_MIN || datagram[0] >> 6 !== 1) return;
    const second = Math.floor(Date.now() / 1000);
    if (second !== this.resets.second) this.resets = { second, count: 0 };
    this.resets.count += 1;
    if (this.resets.count > RESETS_PER_S) return;
    const size = randomInt(RESET_BYTES_MIN, Math.min(RESET_BYTES_MAX + 1, datagram.length));
    const head = randomBytes(size - TOKEN_BYTES);
    head[0] = 0x40 | (head[0] & 0x3f);
    this.put(Buffer.concat([head, this.token(cid)]), from);
  }

  /**
   * @param {Buffer} datagram
   * @param {dgram.RemoteInfo} to
   */
  put(datagram, to) {
    this.socket.send(datagram, to.port, to.address);
  }
}

module.exports = { Server, serve };
