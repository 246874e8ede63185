'use strict';
/**
 * The words that both wire formats of docs/protocol.md share: reading and writing bytes, varints, truncated numbers,
 * and what is wrong with bytes that came.
 */

const VARINT_MAX = 2n ** 62n - 1n;
const TEXT = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Bytes that break the format. `code` is what a connection ends with; 0 says that only the datagram is dropped. */
class WireError extends Error {
  /**
   * @param {string} message
   * @param {number} [code]
   */
  constructor(message, code = 1002) {
    super(message);
    this.code = code;
  }
}

/** Reads fields from the front. What is cut off or out of its range is a WireError with `code`. */
class Reader {
  /**
   * @param {Buffer} bytes
   * @param {number} [code]
   */
  constructor(bytes, code = 1002) {
    this.bytes = bytes;
    this.code = code;
    this.at = 0;
  }

  get left() {
    return this.bytes.length - this.at;
  }

  /**
   * @param {boolean} good
   * @param {string} what to say when it is not
   */
  check(good, what) {
    if (!good) throw new WireError(what, this.code);
  }

  /**
   * @param {number} size
   * @returns {Buffer}
   */
  take(size) {
    this.check(size <= this.left, 'cut off');
    this.at += size;
    return this.bytes.subarray(this.at - size, this.at);
  }

  rest() {
    return this.take(this.left);
  }

  byte() {
    return this.take(1)[0];
  }

  /**
   * A number in so many bytes, highest first.
   * @param {number} size
   */
  fixed(size) {
    return BigInt(`0x${this.take(size).toString('hex')}`);
  }

  /** A varint: up to 2^62, so that it has to be a bigint. */
  varint() {
    const first = this.byte();
    let value = BigInt(first & 0x3f);
    for (const byte of this.take((1 << (first >> 6)) - 1)) value = (value << 8n) | BigInt(byte);
    return value;
  }

  /**
   * A varint that is small enough for an ordinary number.
   * @param {number} most
   * @param {string} what
   */
  small(most, what) {
    const value = this.varint();
    this.check(value <= BigInt(most), `${what}: ${value} is above ${most}`);
    return Number(value);
  }

  /**
   * So many bytes as a varint before them says.
   * @param {number} most
   * @param {string} what
   */
  counted(most, what) {
    return this.take(this.small(most, `length of ${what}`));
  }

  /**
   * A number of which only the lowest bytes are here: the one nearest to what is expected (RFC 9000 appendix A.3).
   * @param {number} size
   * @param {bigint} expected
   */
  truncated(size, expected) {
    const window = 1n << BigInt(8 * size);
    const number = (expected & ~(window - 1n)) | this.fixed(size);
    if (number + window / 2n <= expected && number + window <= VARINT_MAX) return number + window;
    if ((number > expected + window / 2n || number > VARINT_MAX) && number >= window) return number - window;
    return number;
  }
}

/**
 * @param {number | bigint} value
 * @returns {Buffer} the shortest form
 */
function varint(value) {
  const number = BigInt(value);
  const power = number < 64n ? 0 : number < 16384n ? 1 : number < 1073741824n ? 2 : 3;
  const size = 1 << power;
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(number | (BigInt(power) << BigInt(8 * size - 2)));
  return bytes.subarray(8 - size);
}

/**
 * The lowest bytes of a number.
 * @param {number} size
 * @param {bigint} number
 */
function truncate(size, number) {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(Number(number & 0xffffffffn));
  return bytes.subarray(4 - size);
}

/**
 * Bytes with their length before them.
 * @param {Buffer} bytes
 */
function counted(bytes) {
  return Buffer.concat([varint(bytes.length), bytes]);
}

/**
 * UTF-8 that has to be right.
 * @param {Buffer} bytes
 * @param {number} code of the error
 */
function text(bytes, code) {
  try {
    return TEXT.decode(bytes);
  } catch {
    throw new WireError('no UTF-8', code);
  }
}

/**
 * JSON as docs/protocol.md writes it: bytes in hexadecimal, and numbers of any size, which JSON.stringify can't do.
 * @param {unknown} value
 * @returns {string}
 */
function toJson(value) {
  if (typeof value === 'bigint') return value.toString();
  if (Buffer.isBuffer(value)) return JSON.stringify(value.toString('hex'));
  if (Array.isArray(value)) return `[${value.map(toJson).join(', ')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  return `{${Object.entries(value).map(([key, of]) => `${JSON.stringify(key)}: ${toJson(of)}`).join(', ')}}`;
}

module.exports = { Reader, VARINT_MAX, WireError, counted, text, toJson, truncate, varint };
