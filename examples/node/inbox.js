'use strict';
/**
 * What has come of messages: pieces are put together, each message is delivered as its lane promises, and what they
 * cost is counted against the credit that was given.
 */

const { WireError } = require('./bytes');
const { COST_OF_A_MESSAGE, STREAMS_CHANNEL, lane } = require('./frames');
const { Ranges } = require('./ranges');

const FLOW_CONTROL = 1103;
const UNFINISHED_MAX = 256; // unreliable messages of a lane
const UNFINISHED_BYTES_MAX = 262144;
const REMEMBERED = 1024n; // numbers of a lane of delivery 3
const OVER = null; // an entry for a message that was delivered or skipped

/** One message of which a part has come. */
class Assembly {
  /** @param {number} total */
  constructor(total) {
    this.bytes = Buffer.allocUnsafe(total);
    /** @type {Ranges<number>} */
    this.have = new Ranges();
    this.cost = total + COST_OF_A_MESSAGE;
    this.complete = false;
  }

  /**
   * @param {number | undefined} offset of a fragment; of a whole message there is none
   * @param {number} total
   * @param {Buffer} body
   */
  add(offset, total, body) {
    if (total !== this.bytes.length) throw new WireError(`a message of ${this.bytes.length} and of ${total} bytes`);
    if (offset === undefined) {
      body.copy(this.bytes);
      this.complete = true;
      return;
    }
    const end = offset + body.length;
    for (const [low, high] of this.have.list) {
      const [from, to] = [Math.max(low, offset), Math.min(high, end)];
      if (from < to && this.bytes.compare(body, from - offset, to - offset, from, to)) {
        throw new WireError('fragments that disagree');
      }
    }
    body.copy(this.bytes, offset);
    this.have.add(offset, end);
    const [[from, to]] = this.have.list;
    this.complete = from === 0 && to === total;
  }
}

/** Deliveries 0 and 1: each message once. Those of delivery 0 wait for the ones before them. */
class ReliableLane {
  /** @param {boolean} ordered */
  constructor(ordered) {
    this.ordered = ordered;
    this.next = 0n; // all below it are over
    /** @type {Map<bigint, Assembly | OVER>} */
    this.entries = new Map();
  }

  /** @param {bigint} number */
  isNew(number) {
    return number >= this.next && !this.entries.has(number);
  }

  /**
   * Whether it was delivered or skipped, or is whole and waits.
   * @param {bigint} number
   */
  isOver(number) {
    const entry = this.entries.get(number);
    return number < this.next || entry === OVER || Boolean(entry?.complete);
  }

  /**
   * @param {bigint} number
   * @param {number | undefined} offset
   * @param {number} total
   * @param {Buffer} body
   * @returns {Buffer[]} the messages that are ready by that
   */
  take(number, offset, total, body) {
    if (this.isOver(number)) return [];
    const message = this.entries.get(number) ?? new Assembly(total);
    this.entries.set(number, message);
    message.add(offset, total, body);
    if (!message.complete) return [];
    if (this.ordered) return this.advance();
    this.entries.set(number, OVER);
    return [message.bytes, ...this.advance()];
  }

  /**
   * @param {bigint} number
   * @param {number} cost if nothing of it has come
   * @returns {{taken: number, ready: Buffer[]}} the cost of what was skipped, and what waited for it only
   */
  skip(number, cost) {
    if (this.isOver(number)) return { taken: 0, ready: [] };
    const entry = this.entries.get(number);
    this.entries.set(number, OVER);
    return { taken: entry ? entry.cost : cost, ready: this.advance() };
  }

  /** @returns {Buffer[]} */
  advance() {
    const ready = [];
    for (;; this.next++) {
      const entry = this.entries.get(this.next);
      if (entry === undefined || (entry !== OVER && !entry.complete)) return ready;
      if (entry !== OVER) ready.push(entry.bytes);
      this.entries.delete(this.next);
    }
  }
}

/** Deliveries 2 and 3: each message at most once; of delivery 2 none that is older than one that was delivered. */
class UnreliableLane {
  /** @param {boolean} sequenced */
  constructor(sequenced) {
    this.sequenced = sequenced;
    this.floor = 0n; // what is below is dropped
    /** @type {Set<bigint>} */
    this.delivered = new Set();
    /** @type {Map<bigint, Assembly>} the oldest first */
    this.unfinished = new Map();
  }

  /**
   * @param {bigint} number
   * @param {number | undefined} offset
   * @param {number} total
   * @param {Buffer} body
   * @returns {Buffer[]}
   */
  take(number, offset, total, body) {
    if (number < this.floor || this.delivered.has(number)) return [];
    if (!this.sequenced) this.raise(number - REMEMBERED + 1n);
    const message = this.unfinished.get(number) ?? new Assembly(total);
    this.unfinished.set(number, message);
    message.add(offset, total, body);
    if (!message.complete) {
      this.bound();
      return [];
    }
    this.unfinished.delete(number);
    this.delivered.add(number);
    if (this.sequenced) this.raise(number + 1n);
    return [message.bytes];
  }

  /** @param {bigint} floor */
  raise(floor) {
    if (floor <= this.floor) return;
    this.floor = floor;
    for (const number of this.delivered) if (number < floor) this.delivered.delete(number);
    for (const number of this.unfinished.keys()) if (number < floor) this.unfinished.delete(number);
  }

  /** The oldest unfinished messages go when there are too many. */
  bound() {
    let bytes = 0;
    for (const message of this.unfinished.values()) bytes += message.bytes.length;
    for (const [number, message] of this.unfinished) {
      if (bytes <= UNFINISHED_BYTES_MAX && this.unfinished.size <= UNFINISHED_MAX) return;
      bytes -= message.bytes.length;
      this.unfinished.delete(number);
    }
  }
}

/** What the peer may send, on one channel or in all, as totals of cost. */
class Credit {
  /**
   * @param {number} window
   * @param {number} need what the largest message costs
   */
  constructor(window, need) {
    this.limit = window;
    this.window = Math.max(window, need);
    this.need = need;
    this.come = 0;
    this.taken = 0;
    this.due = false; // a new limit has to be told
  }

  /** @param {number} cost */
  count(cost) {
    this.come += cost;
    if (this.come > this.limit) throw new WireError('more than credit allows', FLOW_CONTROL);
  }

  /** @param {number} cost */
  take(cost) {
    this.taken += cost;
    const left = this.limit - this.come;
    if (left <= this.window / 2 || left < this.need) this.due = true;
  }

  /** @returns {number} the limit to tell */
  grant() {
    this.limit = Math.max(this.limit, this.taken + this.window);
    return this.limit;
  }
}

/** All lanes in, and the credit of the peer. */
class Inbox {
  /**
   * @param {{channelWindow: number, connectionWindow: number, maxMessage: number}} announced by this side
   * @param {(body: Buffer, channel: number, delivery: number) => void} deliver
   */
  constructor({ channelWindow, connectionWindow, maxMessage }, deliver) {
    this.channelWindow = channelWindow;
    this.need = maxMessage + COST_OF_A_MESSAGE;
    this.deliver = deliver;
    /** @type {Map<number, ReliableLane | UnreliableLane>} */
    this.lanes = new Map();
    /** @type {Map<number, Credit>} by channel, -1 for the connection */
    this.credits = new Map([[-1, new Credit(connectionWindow, this.need)]]);
  }

  /**
   * @param {number} channel
   * @param {number} delivery
   */
  lane(channel, delivery) {
    const key = lane(channel, delivery);
    const made = delivery < 2 ? ReliableLane : UnreliableLane;
    if (!this.lanes.has(key)) this.lanes.set(key, new made(delivery % 2 === 0));
    return this.lanes.get(key);
  }

  /**
   * The two credits that a message on a channel costs.
   * @param {number} channel
   * @returns {Credit[]}
   */
  creditsOf(channel) {
    if (!this.credits.has(channel)) this.credits.set(channel, new Credit(this.channelWindow, this.need));
    return [this.credits.get(-1), this.credits.get(channel)];
  }

  /**
   * The peer lacks credit, perhaps for a message that is larger than the window.
   * @param {number} channel -1 for the connection
   */
  ask(channel) {
    if (channel >= 0) this.creditsOf(channel);
    this.credits.get(channel).due = true;
  }

  /** @param {import('./frames').Frame} frame a MSG */
  message({ channel, delivery, number, body, offset, total = body.length }) {
    const to = this.lane(channel, delivery);
    const credits = to instanceof ReliableLane && channel !== STREAMS_CHANNEL ? this.creditsOf(channel) : [];
    if (to instanceof ReliableLane && to.isNew(number)) {
      credits.forEach((credit) => credit.count(total + COST_OF_A_MESSAGE));
    }
    this.hand(to.take(number, offset, total, body), channel, delivery, credits);
  }

  /** @param {import('./frames').Frame} frame a SKIP */
  skip({ channel, delivery, messages }) {
    const to = /** @type {ReliableLane} */ (this.lane(channel, delivery));
    const credits = this.creditsOf(channel);
    for (const [number, cost] of messages) {
      if (to.isNew(number)) credits.forEach((credit) => credit.count(cost));
      const { taken, ready } = to.skip(number, cost);
      if (taken) credits.forEach((credit) => credit.take(taken));
      this.hand(ready, channel, delivery, credits);
    }
  }

  /**
   * Delivered is taken: whoever listens keeps up.
   * @param {Buffer[]} bodies
   * @param {number} channel
   * @param {number} delivery
   * @param {Credit[]} credits
   */
  hand(bodies, channel, delivery, credits) {
    for (const body of bodies) {
      credits.forEach((credit) => credit.take(body.length + COST_OF_A_MESSAGE));
      this.deliver(body, channel, delivery);
    }
  }
}

module.exports = { Inbox };
