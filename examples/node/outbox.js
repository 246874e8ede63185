'use strict';
/**
 * Messages that wait to leave: they take their credit and their number when they begin, and are cut into pieces once.
 * A piece that was lost goes again as it is, before what has not begun.
 */

const { COST_OF_A_MESSAGE, STREAMS_CHANNEL, lane } = require('./frames');

const PIECE_BYTES = 1000; // fits into the smallest packet, beside an ack with all its ranges

/**
 * @typedef {object} Message
 * @property {Buffer} body
 * @property {number} channel
 * @property {number} delivery
 * @property {bigint} number given when it begins
 * @property {number} left pieces that are not settled
 *
 * @typedef {object} Piece
 * @property {Message} message
 * @property {number} offset
 * @property {number} end
 * @property {boolean} settled acknowledged; or sent, if the message is unreliable
 * @property {boolean} queued
 */

class Outbox {
  /** @param {{channelWindow: number, connectionWindow: number}} announced by the peer */
  constructor({ channelWindow, connectionWindow }) {
    this.channelWindow = channelWindow;
    /** @type {Map<number, Message[]>} by lane; the lane that has waited longest first */
    this.waiting = new Map();
    /** @type {Piece[]} of messages that have begun */
    this.fresh = [];
    /** @type {Piece[]} */
    this.again = [];
    /** @type {Map<number, bigint>} by lane, the number of its next message */
    this.numbers = new Map();
    /** @type {Map<number, {limit: number, total: number}>} by channel, -1 for the connection */
    this.credits = new Map([[-1, { limit: connectionWindow, total: 0 }]]);
    /** @type {Map<number, number>} by channel, the limit that is needed and has to be said in a BLOCKED */
    this.blocked = new Map();
    /** @type {Map<number, number>} by channel, the last limit that was said */
    this.saidBlocked = new Map();
    this.pending = 0; // messages that are not settled
  }

  /**
   * @param {Buffer} body
   * @param {number} channel
   * @param {number} delivery
   */
  add(body, channel, delivery) {
    const key = lane(channel, delivery);
    if (!this.waiting.has(key)) this.waiting.set(key, []);
    this.waiting.get(key).push({ body, channel, delivery, number: -1n, left: 0 });
    this.pending += 1;
  }

  /** @returns {Piece | undefined} the one that is next, if any may go */
  peek() {
    while (this.again.length && this.again[0].settled) this.again.shift();
    if (this.again.length) return this.again[0];
    if (!this.fresh.length) this.begin();
    return this.fresh[0];
  }

  /** @returns {Piece} the one that `peek` told, which leaves now */
  shift() {
    const piece = (this.again.length ? this.again : this.fresh).shift();
    piece.queued = false;
    if (piece.message.delivery >= 2) this.settle(piece);
    return piece;
  }

  /** Cuts the next message for which there is credit. */
  begin() {
    for (const [key, queue] of this.waiting) {
      const [message] = queue;
      if (!this.pay(message)) continue;
      queue.shift();
      this.waiting.delete(key);
      if (queue.length) this.waiting.set(key, queue);
      message.number = this.numbers.get(key) ?? 0n;
      this.numbers.set(key, message.number + 1n);
      let offset = 0;
      do {
        const end = Math.min(offset + PIECE_BYTES, message.body.length);
        this.fresh.push({ message, offset, end, settled: false, queued: true });
        offset = end;
      } while (offset < message.body.length);
      message.left = this.fresh.length;
      return;
    }
  }

  /**
   * @param {Message} message
   * @returns {boolean} whether there is credit for it, which it has taken then
   */
  pay({ body, channel, delivery }) {
    if (delivery >= 2 || channel === STREAMS_CHANNEL) return true;
    if (!this.credits.has(channel)) this.credits.set(channel, { limit: this.channelWindow, total: 0 });
    const cost = body.length + COST_OF_A_MESSAGE;
    const both = [-1, channel].map((of) => ({ of, credit: this.credits.get(of) }));
    const lacking = both.filter(({ credit }) => credit.total + cost > credit.limit);
    for (const { of, credit } of lacking) {
      if (this.saidBlocked.get(of) === credit.total + cost) continue;
      this.saidBlocked.set(of, credit.total + cost);
      this.blocked.set(of, credit.total + cost);
    }
    if (lacking.length) return false;
    for (const { credit } of both) credit.total += cost;
    return true;
  }

  /**
   * A new limit from the peer. One that is lower was overtaken on its way.
   * @param {number} channel -1 for the connection
   * @param {number} limit
   */
  raise(channel, limit) {
    if (!this.credits.has(channel)) this.credits.set(channel, { limit: this.channelWindow, total: 0 });
    const credit = this.credits.get(channel);
    credit.limit = Math.max(credit.limit, limit);
  }

  /**
   * A BLOCKED was lost. It is said again if it still holds.
   * @param {number} channel
   * @param {number} needed
   */
  sayAgain(channel, needed) {
    if (this.credits.get(channel).limit < needed) this.blocked.set(channel, needed);
  }

  /** @param {Piece} piece which the peer has */
  settle(piece) {
    if (piece.settled) return;
    piece.settled = true;
    piece.message.left -= 1;
    if (piece.message.left === 0) this.pending -= 1;
  }

  /** @param {Piece} piece whose packet was lost, or may be */
  resend(piece) {
    if (piece.settled || piece.queued) return;
    piece.queued = true;
    this.again.push(piece);
  }

  /** Gives up everything. */
  clear() {
    this.waiting.clear();
    this.blocked.clear();
    this.fresh = [];
    this.again = [];
    this.pending = 0;
  }
}

module.exports = { Outbox };
