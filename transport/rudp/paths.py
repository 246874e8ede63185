"""Where a peer is that shows up at another address, and whether it is really there (RFC 9000 sections 8.2 and 9).

A path is a pair of addresses. One is in use; others are under validation, or have just been left. Nearly every
connection stays where it began, so this is made for a session when it is first needed. It says which challenges and
answers leave, when and for where; the session writes them. It must never have more leave for an address that is not
proved than three times what came from there, and no packet but the newest moves a connection.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from transport import limits
from transport.machine import Address, Path
from transport.rudp import ids
from transport.rudp.kinds import PATH_CHALLENGE, PATH_RESPONSE

if TYPE_CHECKING:
    from transport.rudp.located import Located

TOKEN_BYTES = 8
FULL_BYTES = limits.RUDP_DATAGRAM_BYTES_MIN  # that a path has to carry
BARE_BYTES = 9 + 4 + 1 + TOKEN_BYTES + 4  # a packet with a challenge, its number and checksum as long as can be
LIFE_COUNT = 3  # probe time-outs that a validation may take (section 8.2.4), and that a path that was left is kept
LIFE_NS = limits.RUDP_VALIDATION_NS
WAIT_NS = limits.RUDP_PTO_MAX_NS
AMPLIFICATION = limits.RUDP_AMPLIFICATION
NEVER = 1 << 62


def is_same_host(one: Address | None, other: Address | None) -> bool:
    """Whether two addresses differ by their port at most, so that the proof of one is the proof of the other."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return one[:1] + one[2:] == other[:1] + other[2:]
    return one == other


class Trial:
    """A path under validation.

    Args:
        path: where the packets came from.
        is_proved: its address is known; all that is left to show is that it carries full datagrams.

    Attributes:
        newest: the highest packet number that came by it.
        cid: by which the peer is spoken to there; 0 for the id in use.
        received, sent: bytes, that what is sent stays within three times what came.
        tokens: challenges that may be answered, and when each left; the oldest is forgotten.
        due: when the next challenge leaves (ns); NEVER while there are no bytes for it.
        wait: how long after that the one after it.
        end: when it is given up, unless another packet comes by it.
        rtt: between the challenge that was answered and the answer (ns), 0 while there is none.
        first: the first packet number that left by it, once it is in use.
    """

    __slots__ = ("_life", "cid", "due", "end", "first", "is_proved", "newest", "path", "received", "rtt", "sent",
                 "tokens", "wait")  # fmt: skip

    def __init__(self, path: Path, is_proved: bool, pto: int, now: int) -> None:
        self.path = path
        self.is_proved = is_proved
        self.newest = -1
        self.cid = 0
        self.received = 0
        self.sent = 0
        self.tokens: dict[bytes, tuple[int, int]] = {}
        self.due = now
        self.wait = pto
        self._life = max(LIFE_COUNT * pto, LIFE_NS)
        self.end = now + self._life
        self.rtt = 0
        self.first = 0

    def came(self, size: int, now: int) -> None:
        """A packet has come by it."""
        self.received += size
        self.end = now + self._life
        if self.due == NEVER and not self.is_proved:
            self.due = now

    def challenged(self, token: bytes, size: int, now: int) -> None:
        """A challenge leaves."""
        self.due = now + self.wait
        self.wait = max(self.wait, min(2 * self.wait, WAIT_NS))
        self.tokens[token] = (now, size)
        if len(self.tokens) > limits.RUDP_CHALLENGES_MAX:
            del self.tokens[next(iter(self.tokens))]
        self.sent += size
        assert self.is_proved or self.sent <= AMPLIFICATION * self.received

    def room(self) -> int:
        """Bytes that may leave for it."""
        return FULL_BYTES if self.is_proved else AMPLIFICATION * self.received - self.sent

    def size(self) -> int:
        """Of the next challenge's datagram: bare at first, so that one packet of the peer is enough for it; full when
        as much has come, or the address is proved. 0 when nothing may leave.
        """
        room = self.room()
        if room >= FULL_BYTES and (self.tokens or self.is_proved):
            return FULL_BYTES
        return BARE_BYTES if room >= BARE_BYTES else 0


class Paths:
    """The paths of one session beside the one in use.

    Args:
        secret: what challenges follow from; nobody else must know it.

    Attributes:
        trials: under validation, the oldest first.
        confirming: the path in use, until it has shown that it carries full datagrams.
        kept, kept_until: the one that was left, whose address counts as proved until then (ns).
        answers: (token, path, bytes of its datagram) of challenges to be answered, the oldest first.
    """

    def __init__(self, secret: bytes) -> None:
        self.trials: list[Trial] = []
        self.confirming: Trial | None = None
        self.kept: Path | None = None
        self.kept_until = 0
        self.answers: list[tuple[bytes, Path, int]] = []
        self._secret = secret
        self._count = 0

    # What comes

    def trial_of(self, path: Path) -> Trial | None:
        """The validation of this path's address."""
        for trial in self.trials:
            if is_same_host(trial.path.remote, path.remote):
                return trial
        return None

    def begin(self, path: Path, pto: int, now: int) -> Trial:
        """A validation; above the bound the oldest is given up for it."""
        if len(self.trials) >= limits.RUDP_PATHS_MAX:
            del self.trials[0]
        trial = Trial(path, False, pto, now)
        self.trials.append(trial)
        return trial

    def answer(self, token: bytes, path: Path, size: int) -> None:
        """A challenge has come; above the bound the oldest goes unanswered."""
        self.answers.append((token, path, size))
        if len(self.answers) > limits.RUDP_CHALLENGES_MAX:
            del self.answers[0]

    def answered(self, token: bytes) -> tuple[Trial, int, int] | None:
        """Whose challenge this answers, when that left, and the size of its datagram. An answer counts once."""
        for trial in (*self.trials, self.confirming):
            if trial is not None and token in trial.tokens:
                return (trial, *trial.tokens.pop(token))
        return None

    # What leaves

    def take(self, now: int) -> tuple[Path, bytes, int, int] | None:
        """What leaves next: the path, a frame, the size of the datagram, and the peer's id, 0 for that in use. None for
        nothing.
        """
        if self.answers:
            token, path, size = self.answers.pop(0)
            return path, bytes([PATH_RESPONSE]) + token, size, 0
        for trial in (*self.trials, self.confirming):
            if trial is not None and trial.due <= now:
                size = trial.size()
                if not size:
                    trial.due = NEVER
                    continue
                token = self._token()
                trial.challenged(token, size, now)
                return trial.path, bytes([PATH_CHALLENGE]) + token, size, trial.cid
        return None

    def _token(self) -> bytes:
        self._count += 1
        return hashlib.blake2s(self._count.to_bytes(8, "big"), key=self._secret, digest_size=TOKEN_BYTES).digest()

    # Time

    def due(self) -> int:
        """When something is to be done (ns); 0 for never."""
        times = [min(trial.due, trial.end) for trial in (*self.trials, self.confirming) if trial is not None]
        if self.kept is not None and self.confirming is None:
            times.append(self.kept_until)
        return min(times, default=0)

    def expire(self, is_heard: bool, now: int) -> Path | None:
        """Gives up what took too long.

        Args:
            is_heard: something that was sent over the path in use has arrived.
            now: the present.

        Returns:
            A path to go back to, where the one in use carries no full datagrams.
        """
        self.trials = [trial for trial in self.trials if now < trial.end]
        back = None
        if self.confirming is not None and now >= self.confirming.end:
            self.confirming = None
            back = None if is_heard else self.kept
        if self.kept is not None and now >= self.kept_until and self.confirming is None:
            self.kept = None
        return back


# What a session does by them


def came_by(session: Located, path: Path, number: int, size: int, now: int) -> None:
    """A valid new packet came from another address than the peer's, or had a word about paths; see `Incoming`."""
    paths = session.paths
    if paths is None:
        paths = session.paths = Paths(session.path_secret())
    challenge, response = session.path_words()
    is_newest = number == session.acks.ranges.largest
    trial = None if session.is_client or is_same_host(path.remote, session.path.remote) else paths.trial_of(path)
    if trial is not None:
        trial.came(size, now)
    if challenge:
        paths.answer(challenge, path, size)
        if trial is not None:
            trial.sent += max(size, BARE_BYTES)
    if response:
        _answered(session, paths, response, number, now)
    if is_newest and trial is not None:
        trial.newest = number
        trial.path = path
    if is_newest and not challenge and not response and not session.is_client:
        _newest(session, paths, trial, path, size, now)
    _settle(session, paths, now)


def _newest(session: Located, paths: Paths, trial: Trial | None, path: Path, size: int, now: int) -> None:
    """The newest packet came from elsewhere: the connection moves there, or finds out first whether the peer did."""
    if paths.kept is not None and now < paths.kept_until and is_same_host(path.remote, paths.kept.remote):
        if trial is not None:
            paths.trials.remove(trial)
        _leave(session, paths, now)
        session.follow(path, now)
        session.forget_mtu()  # what the other one carries, this one may lose
    elif trial is None:
        trial = paths.begin(path, _pto(session), now)
        trial.came(size, now)
        trial.newest = session.acks.ranges.largest
        if session.addressed != session.home:
            trial.cid = ids.spare(session)  # it has taken another of ours, too
    elif trial.is_proved:
        _move(session, paths, trial, now)


def _answered(session: Located, paths: Paths, token: bytes, number: int, now: int) -> None:
    """The peer has got a challenge, as packet `number` says."""
    found = paths.answered(token)
    if found is None:
        return
    trial, sent_at, size = found
    if trial is paths.confirming:
        paths.confirming = None
        return
    trial.is_proved = True
    trial.due = NEVER
    trial.rtt = now - sent_at
    if trial.newest == _newest_but(session, number):  # else it has gone on from elsewhere
        _move(session, paths, trial, now)
        if size >= FULL_BYTES:
            paths.confirming = None


def _newest_but(session: Located, number: int) -> int:
    """The highest packet number that has come, `number` left out."""
    ranges = session.acks.ranges
    if number < ranges.largest:
        return ranges.largest
    if ranges.range_start(0) < number:
        return number - 1
    return ranges.range_end(1) - 1 if ranges.range_count() > 1 else -1


def _move(session: Located, paths: Paths, trial: Trial, now: int) -> None:
    """The peer is at another address: nothing that was found out about the old path holds (section 9.4)."""
    paths.trials.remove(trial)
    _leave(session, paths, now)
    first = session.ring.next
    session.change_path(trial.path, now)
    session.acks.ask()  # what was acknowledged last may not have reached it
    if trial.rtt:
        session.rtt.update(trial.rtt, 0)
    paths.confirming = Trial(trial.path, True, _pto(session), now)
    paths.confirming.first = first


def _leave(session: Located, paths: Paths, now: int) -> None:
    paths.confirming = None
    paths.kept = session.path
    paths.kept_until = now + LIFE_COUNT * _pto(session)


def _pto(session: Located) -> int:
    return session.rtt.probe_timeout(session.peer_ack_delay_ns)


def expire(session: Located, now: int) -> None:
    """Something of the session's paths is due."""
    paths = session.paths
    assert paths is not None
    confirming = paths.confirming
    back = paths.expire(confirming is not None and session.is_acked_from(confirming.first), now)
    if back is not None:
        session.change_path(back, now)
        paths.kept = None
    _settle(session, paths, now)


def fill(session: Located, room: memoryview, now: int) -> int:
    """Writes the next packet that leaves by another path, or has to leave alone; -1 when there is none."""
    if len(room) < FULL_BYTES:
        return -1
    paths = session.paths
    assert paths is not None
    found = paths.take(now)
    session.path_at = paths.due()
    if found is None:
        session.has_probes = False
        return -1
    path, frame, size, cid = found
    return session.write_probe(room, frame, min(size, FULL_BYTES), path, cid or session.peer_cid, now)


def _settle(session: Located, paths: Paths, now: int) -> None:
    """Has the session come back for what is due now or later."""
    due = paths.due()
    session.path_at = due
    if paths.answers or 0 < due <= now:
        session.has_probes = True
