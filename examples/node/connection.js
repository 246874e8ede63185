'use strict';
/**
 * A connection of reliable UDP from the end of its handshake on, either side, without a socket and without a clock: it
 * takes datagrams and gives datagrams. Times are milliseconds of one clock.
 */

const { WireError } = require('./bytes');
const { Cids } = require('./cids');
const frames = require('./frames');
const { Inbox } = require('./inbox');
const { Outbox } = require('./outbox');
const packets = require('./packets');
const { streamReset, readFrames: readStreamFrames } = require('./pipe');
const { Ranges } = require('./ranges');
const { Recovery } = require('./recovery');

const DATAGRAM_BYTES = 1200;
const DATAGRAM_BYTES_MIN = 38; // of what asks for an ack or closes: shorter ones get no RESET
const RANGES_KEPT = 64;
const ACK_PACKETS = 2; // that ask, after which an ack leaves, unless the peer has asked for another number
const ACK_PACKETS_MAX = 64;
const ACK_WAIT_MS_MIN = 0.25;
const ACKS_ONLY_MAX = 32; // one in so many packets of acks asks for an ack
const KEEP_ALIVE_MS = 15000;
const PROBES_MAX = 40;
const CLOSES_MAX = 8;
const CLOSE_WAIT_MS_MAX = 1000;
const LINGER_MS_MAX = 10000;
const ANSWERS_MAX = 4; // to challenges, that wait
const LOST = 1006;
const OVERLOADED = 1013;
const IDLE_TIMEOUT = 1102;
const CLEAN = [0, 1001];
// Frames that ask for no ack
const QUIET = new Set(['PAD', 'ACK', 'ACK_ECN', 'PATH_CHALLENGE', 'PATH_RESPONSE', 'CLOSE']);

/**
 * @typedef {object} Handlers
 * @property {() => void} opened at a server's first packet from the client, before its frames
 * @property {(body: Buffer, channel: number, delivery: number) => void} message
 * @property {(end: {code: number, reason: string, clean: boolean}) => void} closed
 */

class Connection {
  /**
   * @param {object} about
   * @param {Buffer} about.mine this side's cid
   * @param {Buffer} about.theirs
   * @param {Record<string, any>} about.local all parameters of this side
   * @param {Record<string, any>} about.remote all of the peer
   * @param {boolean} about.open whether the handshake is over for this side: a client's is, with the ACCEPT
   * @param {Handlers} about.handlers
   * @param {number} now
   */
  constructor({ mine, theirs, local, remote, open, handlers }, now) {
    this.mine = mine.toString('hex');
    this.cids = new Cids(theirs, remote.reset_token);
    this.handlers = handlers;
    this.checksum = packets.agreedChecksum(local.checksums, remote.checksums);
    this.datagramBytes = Math.min(DATAGRAM_BYTES, Number(remote.max_datagram));
    this.maxMessage = Math.min(Number(local.max_message), Number(remote.max_message));
    this.channels = Math.min(Number(local.channels), Number(remote.channels));
    const idle = [local.idle_ms, remote.idle_ms].map(Number).filter((ms) => ms > 0);
    this.idleMs = Math.min(Infinity, ...idle);
    this.keepAliveMs = Math.min(KEEP_ALIVE_MS, this.idleMs / 2);
    this.ackDelayMs = Number(local.max_ack_delay_us) / 1000;
    this.to = frames.receiver({
      channels: Number(local.channels), agreed: this.channels, maxMessage: Number(local.max_message), isClient: open,
    });
    this.inbox = new Inbox(windows(local), (...message) => this.deliver(...message));
    this.outbox = new Outbox(windows(remote));
    this.recovery = new Recovery(Number(remote.max_ack_delay_us) / 1000);
    /** @type {'half-open' | 'open' | 'flushing' | 'closing' | 'closed' | 'over'} */
    this.state = open ? 'open' : 'half-open';
    this.end = { code: 0, reason: '', clean: false }; // what is said in CLOSE

    /** @type {Ranges<bigint>} */
    this.received = new Ranges();
    this.floor = 0n; // packets below it count as duplicates
    this.expected = 0n;
    this.largestAt = now; // when the largest packet came
    this.asking = 0; // packets that ask for an ack and have none
    this.policy = { number: -1n, packets: ACK_PACKETS, waitMs: this.ackDelayMs }; // how often the peer wants acks
    /** @type {number | null} when an ack has to leave */
    this.ackAt = null;
    this.acksOnly = 0;
    this.streams = 0n; // that the peer has opened
    /** @type {Buffer | null} the token of the last challenge in the packet that is read */
    this.challenge = null;
    /** @type {{token: Buffer, size: number}[]} challenges that have no answer, the oldest first */
    this.answers = [];

    this.heardAt = now;
    this.pingDue = open; // the first packet leaves at once
    this.pingAt = now + this.keepAliveMs;
    this.probesDue = 0;
    this.closes = 0; // how often CLOSE was said
    this.closeDue = false;
    /** @type {number | null} */
    this.closeAt = null;
    this.overAt = Infinity;
  }

  /** What a RESET by the peer ends with. */
  get resetToken() {
    return this.cids.inUse.token;
  }

  // What the application does

  /**
   * Queues a message. Nothing bounds the queue but whoever calls this.
   * @param {Buffer} body
   * @param {number} channel
   * @param {number} delivery 0 to 3
   */
  send(body, channel, delivery) {
    if (this.state !== 'open') throw new Error('the connection is not open');
    const most = delivery < 2 ? this.maxMessage : Math.min(this.maxMessage, 65536);
    if (body.length > most) throw new RangeError(`a message of ${body.length} bytes; at most ${most}`);
    if (!(channel >= 0 && channel < this.channels)) throw new RangeError(`channel ${channel} of ${this.channels}`);
    this.outbox.add(body, channel, delivery);
  }

  /** Has the peer say something. */
  ping() {
    this.pingDue = true;
  }

  /**
   * Ends the connection when everything reliable has arrived.
   * @param {number} code
   * @param {string} reason at most 256 bytes
   */
  close(code, reason) {
    if (Buffer.byteLength(reason) > 256) throw new RangeError('a reason has at most 256 bytes');
    if (this.state !== 'open') return;
    this.state = 'flushing';
    this.end = { code, reason, clean: CLEAN.includes(code) };
  }

  // What comes

  /**
   * @param {Buffer} datagram
   * @param {number} now
   * @returns {boolean} whether it is a packet of this connection
   */
  receive(datagram, now) {
    if (this.state === 'over') return false;
    let packet;
    try {
      packet = packets.readShort(datagram, this.checksum, this.expected);
    } catch (error) {
      if (error instanceof WireError) return false;
      throw error;
    }
    const { number } = packet;
    if (packet.cid !== this.mine) return false;
    if (number < this.floor || this.received.has(number)) {
      this.ackAt = now;
      return true;
    }
    this.heardAt = now;
    this.pingAt = now + this.keepAliveMs;
    if (this.state === 'half-open') {
      this.state = 'open';
      this.handlers.opened();
    }
    this.challenge = null;
    if (this.state !== 'closed') this.act(packet.frames, number, now);
    else if (this.closes > 0 && this.closes < CLOSES_MAX) this.closeDue = true;
    if (this.challenge) this.answers.push({ token: Buffer.from(this.challenge), size: datagram.length });
    if (this.answers.length > ANSWERS_MAX) this.answers.shift();
    this.remember(number, now);
    return true;
  }

  /**
   * @param {Buffer} bytes
   * @param {bigint} number of the packet
   * @param {number} now
   */
  act(bytes, number, now) {
    let asks = false;
    let urgent = number !== this.expected;
    try {
      for (const frame of frames.readFrames(bytes, this.to)) {
        asks ||= !QUIET.has(frame.frame);
        urgent ||= frame.frame === 'PING';
        this.obey(frame, now);
      }
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.fail(error.code, error.message, now);
    }
    if (!asks) return;
    this.asking += 1;
    const wait = Math.min(this.policy.waitMs, this.recovery.smoothed / 4);
    const due = urgent || this.asking >= this.policy.packets ? now : now + wait;
    this.ackAt = Math.min(this.ackAt ?? Infinity, due);
  }

  /**
   * @param {bigint} number
   * @param {number} now
   */
  remember(number, now) {
    this.received.add(number, number + 1n);
    if (this.received.list.length > RANGES_KEPT) {
      this.received.list.shift();
      [[this.floor]] = this.received.list;
    }
    if (number < this.expected) return;
    this.expected = number + 1n;
    this.largestAt = now;
  }

  /**
   * @param {frames.Frame} frame
   * @param {number} now
   */
  obey(frame, now) {
    switch (frame.frame) {
      case 'ACK':
      case 'ACK_ECN':
        for (const packet of this.recovery.acknowledge(frame.ranges, Number(frame.delay_us) / 1000, now)) {
          packet.pieces.forEach((piece) => this.outbox.settle(piece));
          packet.retired.forEach((cid) => this.cids.settle(cid));
        }
        this.recover(this.recovery.lost(now));
        break;
      case 'ACK_POLICY':
        this.takePolicy(frame);
        break;
      case 'SKIP':
        this.inbox.skip(frame);
        break;
      case 'CONNECTION_CREDIT':
      case 'CHANNEL_CREDIT':
        this.outbox.raise(frame.channel ?? -1, Number(frame.limit));
        break;
      case 'MSG':
        this.inbox.message(frame);
        break;
      case 'CLOSE':
        this.closedByPeer(frame.code, frame.reason, now);
        break;
      case 'BLOCKED':
        this.inbox.ask(frame.channel);
        break;
      case 'PATH_CHALLENGE':
        this.challenge = frame.token;
        break;
      case 'NEW_CID':
        this.cids.add({ number: frame.number, floor: frame.floor, cid: frame.cid, token: frame.reset_token ?? null });
        break;
      case 'RETIRE_CID': // ours is that of the handshake alone, and stays
        if (frame.number > 0n) throw new WireError(`cid ${frame.number} was never given`);
        break;
      default: // PAD, PING, and PATH_RESPONSE, for we challenge nobody
    }
  }

  /**
   * How often the peer wants to hear acks. Whatever it says of the order, every gap is told at once.
   * @param {frames.Frame} policy
   */
  takePolicy({ number, threshold, delay_us: delayUs }) {
    if (number <= this.policy.number) return;
    const waitMs = Math.min(Math.max(Number(delayUs) / 1000, ACK_WAIT_MS_MIN), this.ackDelayMs);
    this.policy = { number, packets: Math.min(Number(threshold), ACK_PACKETS_MAX), waitMs };
  }

  /**
   * @param {Buffer} body
   * @param {number} channel
   * @param {number} delivery
   */
  deliver(body, channel, delivery) {
    if (channel === frames.STREAMS_CHANNEL) this.refuseStreams(body);
    else if (this.state === 'open') this.handlers.message(body, channel, delivery);
  }

  /**
   * Streams are refused: a side may take none.
   * @param {Buffer} body of a message of the streams' channel
   */
  refuseStreams(body) {
    for (const { kind, stream } of readStreamFrames(body)) {
      if (!String(kind).startsWith('STREAM_')) throw new WireError(`${kind} among streams`);
      const known = stream < this.streams || kind === 'STREAM_RESET' || kind === 'STREAM_CREDIT';
      if (kind === 'STREAM_OPEN' ? stream !== this.streams : !known) throw new WireError(`stream ${stream}`);
      if (kind !== 'STREAM_OPEN') continue;
      this.streams += 1n;
      this.outbox.add(streamReset(stream, OVERLOADED), frames.STREAMS_CHANNEL, 0);
    }
  }

  // How it ends

  /**
   * @param {number} code
   * @param {string} reason
   * @param {number} now
   */
  closedByPeer(code, reason, now) {
    if (this.state === 'open') this.end = { code, reason, clean: CLEAN.includes(code) };
    this.finish(this.state !== 'closing', now);
  }

  /** A RESET came, or the network says that nobody is there. */
  lost(/** @type {number} */ now) {
    if (this.state === 'closed' || this.state === 'over') return;
    if (this.state !== 'closing') this.end = { code: LOST, reason: 'the peer has lost the connection', clean: false };
    this.finish(false, now);
  }

  /**
   * The peer has broken a rule, or is silent.
   * @param {number} code
   * @param {string} reason
   * @param {number} now
   */
  fail(code, reason, now) {
    this.end = { code, reason, clean: false };
    this.finish(true, now);
  }

  /**
   * @param {boolean} say CLOSE, at once
   * @param {number} now
   */
  finish(say, now) {
    this.state = 'closed';
    this.closeDue = say;
    this.outbox.clear();
    this.recovery.sent.clear();
    this.overAt = now + Math.min(3 * this.recovery.pto, LINGER_MS_MAX);
    this.handlers.closed(this.end);
  }

  // What leaves

  /**
   * What goes again because packets were lost.
   * @param {import('./recovery').Sent[]} lost
   */
  recover(lost) {
    for (const { pieces, credits, blocked, retired } of lost) {
      pieces.forEach((piece) => this.outbox.resend(piece));
      credits.forEach((channel) => { this.inbox.credits.get(channel).due = true; });
      blocked.forEach(([channel, limit]) => this.outbox.sayAgain(channel, limit));
      retired.forEach((cid) => this.cids.sayAgain(cid));
    }
  }

  /**
   * The next datagram to send, or null if there is none now.
   * @param {number} now
   * @returns {Buffer | null}
   */
  transmit(now) {
    if (this.state === 'flushing' && this.outbox.pending === 0) {
      this.state = 'closing';
      this.closeDue = true;
    }
    if (this.closeDue) return this.sayClose(now);
    if (['half-open', 'closed', 'over'].includes(this.state)) return null;
    const answer = this.answers.shift();
    if (answer) return this.packet([frames.pathResponse(answer.token)], { number: 0n, size: 0 }, answer.size);
    const sent = { number: 0n, at: now, size: 0, pieces: [], credits: [], blocked: [], retired: [] };
    const acking = this.asking > 0 || this.ackAt !== null;
    const ack = acking ? frames.ack(this.ranges(), (now - this.largestAt) * 1000) : Buffer.alloc(0);
    const asking = this.fill(sent, this.room - ack.length, now);
    if (!asking.length && !(this.ackAt !== null && this.ackAt <= now)) return null;
    if (acking) {
      this.asking = 0;
      this.ackAt = null;
      asking.unshift(ack);
    }
    const asks = asking.length > (acking ? 1 : 0);
    this.acksOnly = asks ? 0 : this.acksOnly + 1;
    const packet = this.packet(asking, sent, asks ? DATAGRAM_BYTES_MIN : 0);
    if (asks) this.recovery.add(sent);
    return packet;
  }

  /** Bytes for frames in a packet. */
  get room() {
    return this.datagramBytes - packets.SHORT_HEAD_BYTES - packets.CHECKSUM_BYTES;
  }

  /** @returns {[bigint, bigint][]} of packets that came, for an ack */
  ranges() {
    return this.received.list.map(([from, end]) => /** @type {[bigint, bigint]} */ ([from, end - 1n])).reverse();
  }

  /**
   * Frames that ask for an ack, as many as there are and have room.
   * @param {import('./recovery').Sent} sent notes what they are
   * @param {number} room
   * @param {number} now
   * @returns {Buffer[]}
   */
  fill(sent, room, now) {
    /** @type {Buffer[]} */
    const out = [];
    const fits = (/** @type {Buffer} */ frame) => {
      if (frame.length > room) return false;
      room -= frame.length;
      out.push(frame);
      return true;
    };
    const credits = this.inbox.credits;
    if (this.acksOnly >= ACKS_ONLY_MAX - 1 && this.ackAt !== null && this.ackAt <= now) credits.get(-1).due = true;
    for (const [channel, credit] of credits) {
      if (!credit.due) continue;
      credit.due = !fits(frames.credit(channel, credit.grant()));
      if (!credit.due) sent.credits.push(channel);
    }
    for (const [channel, limit] of this.outbox.blocked) {
      if (!fits(frames.blocked(channel, limit))) break;
      sent.blocked.push([channel, limit]);
      this.outbox.blocked.delete(channel);
    }
    for (const cid of this.cids.due) {
      if (!fits(frames.retireCid(cid))) break;
      sent.retired.push(cid);
      this.cids.said(cid);
    }
    while (this.recovery.mayGo || this.probesDue > 0) {
      const piece = this.outbox.peek();
      if (!piece || !fits(frames.msg(piece.message, piece.offset, piece.end))) break;
      sent.pieces.push(this.outbox.shift());
    }
    if ((this.pingDue || (this.probesDue > 0 && !out.length)) && fits(frames.PING)) this.pingDue = false;
    if (this.probesDue > 0) this.probesDue -= 1;
    return out;
  }

  /**
   * @param {Buffer[]} parts its frames
   * @param {{number: bigint, size: number}} sent notes its number and its size
   * @param {number} least bytes that it shall have, if so many may leave
   */
  packet(parts, sent, least) {
    const size = parts.reduce((sum, { length }) => sum + length, packets.SHORT_HEAD_BYTES + packets.CHECKSUM_BYTES);
    const pads = Math.max(0, Math.min(least, this.datagramBytes) - size);
    sent.number = this.recovery.number();
    const { cid } = this.cids.inUse;
    const datagram = packets.writeShort(cid, sent.number, [Buffer.alloc(pads), ...parts], this.checksum);
    sent.size = datagram.length;
    return datagram;
  }

  /** @param {number} now */
  sayClose(now) {
    this.closeDue = false;
    this.closeAt = this.state === 'closing'
      ? now + Math.min(this.recovery.pto * 1.5 ** this.closes, Math.max(CLOSE_WAIT_MS_MAX, this.recovery.pto)) : null;
    this.closes += 1;
    return this.packet([frames.close(this.end.code, this.end.reason)], { number: 0n, size: 0 }, DATAGRAM_BYTES_MIN);
  }

  // The clock

  /** @returns {number} when `expire` wants to be called; Infinity if never */
  deadline() {
    if (this.state === 'half-open' || this.state === 'over') return Infinity;
    if (this.state === 'closed') return this.overAt;
    const { lossAt, probeAt } = this.recovery;
    return Math.min(
      this.pingAt, this.idleAt, ...[this.ackAt, lossAt, probeAt, this.closeAt].map((at) => at ?? Infinity),
    );
  }

  get idleAt() {
    return this.heardAt + Math.max(this.idleMs, 3 * this.recovery.pto);
  }

  /** @param {number} now */
  expire(now) {
    if (this.state === 'closed' && this.overAt <= now) this.state = 'over';
    if (['half-open', 'closed', 'over'].includes(this.state)) return;
    if (this.idleAt <= now || this.recovery.probes >= PROBES_MAX) {
      this.fail(IDLE_TIMEOUT, 'nothing heard for too long', now);
      return;
    }
    if (this.pingAt <= now) {
      this.pingDue = true;
      this.pingAt = now + this.keepAliveMs;
    }
    if (this.closeAt !== null && this.closeAt <= now) {
      this.closeAt = null;
      if (this.closes >= CLOSES_MAX) {
        this.end.clean = false;
        this.finish(false, now);
        return;
      }
      this.closeDue = true;
    }
    if (this.recovery.lossAt !== null && this.recovery.lossAt <= now) this.recover(this.recovery.lost(now));
    if (this.recovery.probeAt !== null && this.recovery.probeAt <= now) this.probe(now);
  }

  /**
   * Nothing was acknowledged for too long: the oldest goes again, whether it is lost or not.
   * @param {number} now
   */
  probe(now) {
    this.recovery.probes += 1;
    this.probesDue = this.recovery.probes === 1 ? 1 : 2;
    this.recovery.lastAt = now;
    this.recover([...this.recovery.sent.values()].slice(0, this.probesDue));
  }
}

/**
 * @param {Record<string, any>} parameters
 * @returns {{channelWindow: number, connectionWindow: number, maxMessage: number}}
 */
function windows(parameters) {
  return {
    channelWindow: Number(parameters.channel_window),
    connectionWindow: Number(parameters.connection_window),
    maxMessage: Number(parameters.max_message),
  };
}

module.exports = { Connection };
