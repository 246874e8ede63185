'use strict';
/** Gives a connection what it lacks: a clock, a timer and a socket to send by. This is what an application holds. */

const { EventEmitter } = require('node:events');
const { timingSafeEqual } = require('node:crypto');
const { performance } = require('node:perf_hooks');
const { Connection } = require('./connection');

const TURN_DATAGRAMS_MAX = 32; // then what has come is read first
const TIMER_MS_MAX = 60000;
const RESET_BYTES_MIN = 37;
const TOKEN_BYTES = 16;

/**
 * Events: `message` (body, channel, delivery), `closed` ({code, reason, clean}), `over` when nothing will be sent any
 * more.
 */
class Peer extends EventEmitter {
  /**
   * @param {Omit<ConstructorParameters<typeof Connection>[0], 'handlers'>} about
   * @param {(datagram: Buffer) => void} put sends a datagram
   */
  constructor(about, put) {
    super();
    this.put = put;
    this.waiting = false;
    /** @type {NodeJS.Timeout | undefined} */
    this.timer = undefined;
    this.connection = new Connection({
      ...about,
      handlers: {
        opened: () => this.emit('opened'),
        message: (...message) => this.emit('message', ...message),
        closed: (end) => this.emit('closed', end),
      },
    }, performance.now());
    this.soon();
  }

  /**
   * Queues a message. Deliveries: 0 reliable and ordered, 1 reliable, 2 sequenced, 3 neither.
   * @param {Buffer} body
   * @param {{channel?: number, delivery?: number}} [how]
   */
  send(body, { channel = 0, delivery = 0 } = {}) {
    this.connection.send(body, channel, delivery);
    this.soon();
  }

  /** Asks the peer for a sign of life. */
  ping() {
    this.connection.ping();
    this.soon();
  }

  /**
   * Says goodbye when everything reliable has arrived. `closed` tells when it is done.
   * @param {number} [code]
   * @param {string} [reason]
   */
  close(code = 0, reason = '') {
    this.connection.close(code, reason);
    this.soon();
  }

  /**
   * @param {Buffer} datagram
   * @returns {boolean} whether it is one of this connection
   */
  receive(datagram) {
    const ours = this.connection.receive(datagram, performance.now());
    if (ours || this.isReset(datagram)) this.soon();
    return ours;
  }

  /**
   * Whether the peer says that it knows nothing of this connection, which is its end.
   * @param {Buffer} datagram that is none of this connection
   */
  isReset(datagram) {
    const token = this.connection.resetToken;
    if (!token || datagram.length < RESET_BYTES_MIN || datagram[0] >> 6 !== 1) return false;
    if (!timingSafeEqual(datagram.subarray(-TOKEN_BYTES), token)) return false;
    this.connection.lost(performance.now());
    return true;
  }

  /** The network says that nobody is there, which counts only for a side that has said goodbye. */
  unreachable() {
    if (this.connection.state === 'closing') this.connection.lost(performance.now());
    this.soon();
  }

  /** Has what is ready leave, when all that has come is read. */
  soon() {
    if (this.waiting) return;
    this.waiting = true;
    setImmediate(() => this.turn());
  }

  turn() {
    this.waiting = false;
    clearTimeout(this.timer);
    const { connection } = this;
    const now = performance.now();
    connection.expire(now);
    let left = TURN_DATAGRAMS_MAX;
    for (let datagram; left > 0 && (datagram = connection.transmit(now)); left--) this.put(datagram);
    if (connection.state === 'over') {
      this.emit('over');
      return;
    }
    if (left === 0) this.soon();
    const at = connection.deadline();
    if (at === Infinity) return;
    this.timer = setTimeout(() => this.turn(), Math.min(Math.max(at - performance.now(), 0), TIMER_MS_MAX));
  }
}

module.exports = { Peer };
