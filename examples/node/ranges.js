'use strict';
/** A set of whole numbers, all number or all bigint, kept as ranges: what has come of packets, or of a message. */

/**
 * @template {number | bigint} T
 */
class Ranges {
  constructor() {
    /** @type {[T, T][]} rising and apart; each from its first number to the one behind its last */
    this.list = [];
  }

  /** @param {T} value */
  has(value) {
    return this.list.some(([from, end]) => from <= value && value < end);
  }

  /**
   * @param {T} from
   * @param {T} end the number behind the last
   */
  add(from, end) {
    const before = this.list.filter((range) => range[1] < from);
    const after = this.list.filter((range) => range[0] > end);
    for (const range of this.list.slice(before.length, this.list.length - after.length)) {
      if (range[0] < from) from = range[0];
      if (range[1] > end) end = range[1];
    }
    this.list = [...before, [from, end], ...after];
  }
}

module.exports = { Ranges };
