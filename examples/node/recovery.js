'use strict';
/**
 * What of the packets that were sent has arrived, what is lost, and how much may be under way: the advice of
 * docs/protocol.md in its plainest form, which is RFC 9002 with NewReno. Times are milliseconds.
 */

const { randomInt } = require('node:crypto');
const { WireError } = require('./bytes');

const DATAGRAM_BYTES = 1200;
const WINDOW_BYTES_MIN = 2 * DATAGRAM_BYTES;
const WINDOW_BYTES_FIRST = 10 * DATAGRAM_BYTES;
const FIRST_RTT_MS = 100;
const LOST_BEHIND = 3n; // numbers
const LOST_AFTER = 9 / 8; // round trips
const LEFT_OUT_EVERY = 1024; // numbers, at least
const LEFT_OUT_KEPT = 64;
const PROBE_MS_MAX = 1000;

/**
 * A packet that asks for an ack.
 * @typedef {object} Sent
 * @property {bigint} number
 * @property {number} at
 * @property {number} size
 * @property {import('./outbox').Piece[]} pieces
 * @property {number[]} credits channels whose limit it told, -1 for the connection
 * @property {[number, number][]} blocked channels, and the limits that it asked for
 * @property {bigint[]} retired numbers of cids that it gave up
 */

class Recovery {
  /** @param {number} ackDelayMs the peer's `max_ack_delay_us` */
  constructor(ackDelayMs) {
    this.ackDelayMs = ackDelayMs;
    /** @type {Map<bigint, Sent>} under way, the oldest first */
    this.sent = new Map();
    this.next = 0n;
    this.gap = BigInt(randomInt(1, LEFT_OUT_EVERY)); // the next number to leave out
    /** @type {bigint[]} */
    this.leftOut = [];
    this.largestAcked = -1n;
    this.inFlight = 0;
    this.window = WINDOW_BYTES_FIRST;
    this.threshold = Infinity;
    this.recoveryFrom = -1n; // the window is cut once for all packets up to this number
    this.smoothed = FIRST_RTT_MS;
    this.variance = FIRST_RTT_MS / 2;
    this.latest = FIRST_RTT_MS;
    this.minimum = Infinity;
    this.lastAt = 0;
    /** @type {number | null} when a packet will be lost for being too old */
    this.lossAt = null;
    this.probes = 0; // time-outs in a row
  }

  /** @returns {bigint} the number of a packet that leaves now */
  number() {
    if (this.next === this.gap) {
      this.leftOut.push(this.next);
      if (this.leftOut.length > LEFT_OUT_KEPT) this.leftOut.shift();
      this.next += 1n;
      this.gap = this.next + BigInt(randomInt(1, LEFT_OUT_EVERY));
    }
    this.next += 1n;
    return this.next - 1n;
  }

  get mayGo() {
    return this.inFlight + DATAGRAM_BYTES <= this.window;
  }

  /** @param {Sent} packet */
  add(packet) {
    this.sent.set(packet.number, packet);
    this.inFlight += packet.size;
    this.lastAt = packet.at;
  }

  /** The probe time-out without its growth. */
  get pto() {
    return this.smoothed + Math.max(4 * this.variance, 1) + this.ackDelayMs;
  }

  /** @returns {number | null} when nothing will have been acknowledged for too long */
  get probeAt() {
    if (!this.sent.size) return null;
    const grown = this.pto * 1.5 ** Math.min(this.probes, 2) * 2 ** Math.max(this.probes - 2, 0);
    return this.lastAt + Math.min(grown, Math.max(PROBE_MS_MAX, this.pto));
  }

  /**
   * @param {[bigint, bigint][]} ranges of an ack
   * @param {number} delayMs
   * @param {number} now
   * @returns {Sent[]} the packets that it acknowledges for the first time
   */
  acknowledge(ranges, delayMs, now) {
    const largest = ranges[0][1];
    const names = (/** @type {bigint} */ number) => ranges.some(([low, high]) => low <= number && number <= high);
    if (largest >= this.next || this.leftOut.some(names)) throw new WireError('an ack of what was not sent');
    const acked = [...this.sent.values()].filter(({ number }) => names(number));
    if (!acked.length) return [];
    const newest = acked[acked.length - 1];
    if (newest.number === largest) this.sample(now - newest.at, delayMs);
    for (const { number, size } of acked) {
      this.sent.delete(number);
      this.inFlight -= size;
      if (number <= this.recoveryFrom) continue;
      this.window += this.window < this.threshold ? size : (DATAGRAM_BYTES * size) / this.window;
    }
    if (largest > this.largestAcked) this.largestAcked = largest;
    this.probes = 0;
    return acked;
  }

  /**
   * A round trip (RFC 9002 section 5.3).
   * @param {number} rtt
   * @param {number} delayMs that the peer kept the ack back
   */
  sample(rtt, delayMs) {
    const first = this.minimum === Infinity;
    this.minimum = Math.min(this.minimum, rtt);
    this.latest = rtt - delayMs >= this.minimum ? rtt - delayMs : rtt;
    this.variance = first ? rtt / 2 : (3 * this.variance + Math.abs(this.smoothed - this.latest)) / 4;
    this.smoothed = first ? rtt : (7 * this.smoothed + this.latest) / 8;
  }

  /**
   * @param {number} now
   * @returns {Sent[]} packets that are lost by now
   */
  lost(now) {
    const wait = LOST_AFTER * Math.max(this.smoothed, this.latest, 1);
    const lost = [];
    this.lossAt = null;
    for (const packet of this.sent.values()) {
      if (packet.number >= this.largestAcked) break;
      if (this.largestAcked - packet.number >= LOST_BEHIND || packet.at + wait <= now) lost.push(packet);
      else this.lossAt ??= packet.at + wait;
    }
    for (const { number, size } of lost) {
      this.sent.delete(number);
      this.inFlight -= size;
      if (number <= this.recoveryFrom) continue;
      this.recoveryFrom = this.next - 1n;
      this.threshold = Math.max(this.window / 2, WINDOW_BYTES_MIN);
      this.window = this.threshold;
    }
    return lost;
  }
}

module.exports = { Recovery };
