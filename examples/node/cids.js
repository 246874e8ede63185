'use strict';
/**
 * The connection ids that the peer has given (docs/protocol.md, "Further connection ids"): which is in use, which may
 * be later, and which are given up, until the peer knows. They are numbered by the peer; 0 is that of the handshake.
 */

const { WireError } = require('./bytes');

const KEPT_MAX = 4; // that in use included
const UNHEARD_MAX = 16; // given up without an ack

/**
 * @typedef {object} Cid
 * @property {bigint} number
 * @property {Buffer} cid
 * @property {Buffer | null} token what a RESET for it ends with, from a server
 */

class Cids {
  /**
   * @param {Buffer} cid of the handshake
   * @param {Buffer | null} token
   */
  constructor(cid, token) {
    /** @type {Cid} */
    this.inUse = { number: 0n, cid, token };
    /** @type {Map<bigint, Cid>} that may be used later, by number */
    this.spare = new Map();
    this.floor = 0n; // lower ones are given up
    /** @type {Map<bigint, boolean>} given up without an ack; true while it has to be said */
    this.retired = new Map();
  }

  /**
   * NEW_CID came.
   * @param {Cid & {floor: bigint}} frame
   */
  add({ number, floor, cid, token }) {
    const known = number === this.inUse.number ? this.inUse : this.spare.get(number);
    if (known && !known.cid.equals(cid)) throw new WireError(`cid ${number} came again as another`);
    if (number < this.inUse.number || number < this.floor) this.retire(number);
    else if (!known) this.spare.set(number, { number, cid: Buffer.from(cid), token: token && Buffer.from(token) });
    if (floor > this.floor) this.raise(floor);
    if (this.spare.size + 1 > KEPT_MAX) throw new WireError(`more than ${KEPT_MAX} cids`);
  }

  /** @param {bigint} floor */
  raise(floor) {
    this.floor = floor;
    for (const number of [...this.spare.keys()].filter((of) => of < floor)) {
      this.spare.delete(number);
      this.retire(number);
    }
    if (this.inUse.number >= floor) return;
    this.retire(this.inUse.number);
    const [next] = [...this.spare.values()].sort((a, b) => (a.number < b.number ? -1 : 1));
    this.spare.delete(next.number); // there is one: that which came with the floor
    this.inUse = next;
  }

  /** @param {bigint} number */
  retire(number) {
    this.retired.set(number, true);
    if (this.retired.size > UNHEARD_MAX) throw new WireError('cids that are given up find no notice');
  }

  /** @returns {bigint[]} of which the peer has to be told that they are given up */
  get due() {
    return [...this.retired.keys()].filter((number) => this.retired.get(number));
  }

  /** @param {bigint} number of which it is told now */
  said(number) {
    this.retired.set(number, false);
  }

  /** @param {bigint} number of which it was told in a packet that was lost, or may be */
  sayAgain(number) {
    if (this.retired.has(number)) this.retired.set(number, true);
  }

  /** @param {bigint} number of which the peer knows */
  settle(number) {
    this.retired.delete(number);
  }
}

module.exports = { Cids };
