"""Opening the file of an SQLite log: its tables, its format version, who may write, and whether its counters can be
believed.

One connection writes, and it alone carries the write-ahead log over into the file; others read. That is for speed, and
because of a fault of SQLite up to 3.51.2 (fixed in 3.51.3, 3.50.7 and 3.44.6), which can damage a file when two
connections do so at once. A lock on a file beside it sees to it. This module must never give out a file whose counters
may have gone back without giving every stream a new epoch.
"""

from __future__ import annotations

import errno
import os
import secrets
import sqlite3
import warnings
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from transport import limits
from transport.log.errors import LogCorrupt, LogError, LogFailed, LogFull, LogLocked, LogVersion
from transport.log.memory import new_epoch

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

APPLICATION_ID = 0x74724C47  # "trLG"
VERSION = 1
PAGE_BYTES = 4096
DURABILITIES = {"os": "NORMAL", "disk": "FULL"}
WAL_RESET_FIXED = ((3, 44, 6), (3, 50, 7), (3, 51, 3))

TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE streams (
    id INTEGER PRIMARY KEY, namespace TEXT, private INTEGER NOT NULL, room TEXT NOT NULL, epoch INTEGER NOT NULL,
    top INTEGER NOT NULL, first INTEGER NOT NULL, low INTEGER NOT NULL, bytes INTEGER NOT NULL,
    last_ms INTEGER NOT NULL, due_ms INTEGER, bounds TEXT, UNIQUE (namespace, room, private)
);
CREATE INDEX streams_due ON streams (due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX streams_private ON streams (room) WHERE private;
CREATE TABLE events (
    stream INTEGER, offset INTEGER, at_ms INTEGER NOT NULL, payload BLOB NOT NULL, skip TEXT,
    PRIMARY KEY (stream, offset)
) WITHOUT ROWID;
CREATE TABLE histories (namespace TEXT PRIMARY KEY, bounds TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE keys (
    stream INTEGER NOT NULL, key TEXT NOT NULL, epoch INTEGER NOT NULL, offset INTEGER NOT NULL, at_ms INTEGER NOT NULL,
    UNIQUE (stream, key)
);
CREATE INDEX keys_age ON keys (at_ms);
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, proof BLOB NOT NULL, generation INTEGER NOT NULL, identity BLOB NOT NULL,
    expires_ms INTEGER NOT NULL, contiguous INTEGER NOT NULL, beyond TEXT NOT NULL, lowest INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX sessions_age ON sessions (expires_ms);
CREATE TABLE joined (
    session TEXT, namespace TEXT, private INTEGER, room TEXT, epoch INTEGER NOT NULL, offset INTEGER NOT NULL,
    PRIMARY KEY (session, namespace, private, room)
) WITHOUT ROWID;
CREATE TABLE replies (
    session TEXT, number INTEGER, reply BLOB NOT NULL, PRIMARY KEY (session, number)
) WITHOUT ROWID;
CREATE TABLE causes (
    session TEXT, number INTEGER, step INTEGER, epoch INTEGER NOT NULL, offset INTEGER NOT NULL,
    PRIMARY KEY (session, number, step)
) WITHOUT ROWID;
CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""


def signed(epoch: int) -> int:
    """An epoch as SQLite's integers hold it."""
    return epoch - (1 << 64) if epoch >> 63 else epoch


def unsigned(stored: int) -> int:
    """The epoch that was stored."""
    return stored & ((1 << 64) - 1)


def translated(error: sqlite3.Error, what: str) -> LogError:
    """Our error for one of SQLite's; `what` says what was being done."""
    code = getattr(error, "sqlite_errorcode", 0) or 0
    name = getattr(error, "sqlite_errorname", None) or type(error).__name__
    text = f"{what}: {error} ({name})"
    kind: type[LogError] = LogFailed
    if code & 0xFF == sqlite3.SQLITE_FULL:
        kind = LogFull
    elif code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        kind = LogCorrupt
    elif code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        text = f"{what}: another program has locked the file ({name})"
    elif code & 0xFF == sqlite3.SQLITE_READONLY:
        text = f"{what}: this user may not write in its folder, which reading takes where no server runs ({name})"
    found = kind(text)
    found.__cause__ = error
    return found


def lasting(error: sqlite3.Error) -> bool:
    """Whether later writes can't be trusted either: a damaged file, or a disk that may have lost what it was given.

    A write that failed for want of room leaves SQLite's own state whole.
    """
    code = getattr(error, "sqlite_errorcode", 0) or 0
    primary = code & 0xFF
    if primary == sqlite3.SQLITE_IOERR:
        return code != sqlite3.SQLITE_IOERR_WRITE
    return primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def affected(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> bool:
    """Whether this SQLite may damage a file into which two connections carry the write-ahead log over at once."""
    return not any(version[:2] == fixed[:2] and version >= fixed for fixed in WAL_RESET_FIXED) and version < (3, 51, 3)


class Lock:
    """The right to write: held by one process, given back by the kernel however that process ends.

    In the file stands the mark that the log's last writer left in the log, too. A log with another mark is not the one
    that was written last, but an older one that was put in its place.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + ".lock")
        self._file = -1

    def take(self) -> None:
        """Raises LogLocked when somebody else has it; warns where there can be no lock."""
        if self._file >= 0:
            raise LogLocked(f"{self._path}: this log is being opened already")
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LogFailed(f"{self._path}: {error.strerror}") from error
        try:
            if fcntl is None:
                raise OSError("no file locks on this system")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.give_back()
            raise LogLocked(f"{self._path}: another writer has the log open") from None
        except OSError as error:
            more = f"; SQLite {sqlite3.sqlite_version} may damage a file that two write" if affected() else ""
            warnings.warn(
                f"{self._path}: no lock to be had ({error}): see to it that one process writes{more}",
                RuntimeWarning, stacklevel=2,
            )  # fmt: skip

    def marks(self) -> list[str]:
        """Those that the log may have: one, or two where a writer ended while it changed it; none in a new lock."""
        os.lseek(self._file, 0, os.SEEK_SET)
        return os.read(self._file, limits.LOG_MARKS_BYTES_MAX).decode("ascii", "replace").split()

    def note(self, *marks: str) -> None:
        """Writes them, to the disk. Raises LogFailed, LogFull."""
        text = "".join([f"{mark}\n" for mark in marks]).encode("ascii")
        try:
            os.lseek(self._file, 0, os.SEEK_SET)
            os.write(self._file, text)
            os.ftruncate(self._file, len(text))
            os.fsync(self._file)
        except OSError as error:
            kind = LogFull if error.errno == errno.ENOSPC else LogFailed
            raise kind(f"{self._path}: {error.strerror}") from error

    def give_back(self) -> None:
        """The file stays: removing it would let two writers hold locks on two files of the same name."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def uri(path: Path, mode: str) -> str:
    """How SQLite is told to open a file."""
    return f"file:{quote(str(path.absolute()))}?mode={mode}"


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads. Raises LogError.

    It may be closed by another thread than the one that used it.
    """
    if not path.exists():
        raise LogFailed(f"{path}: no such file")
    if path.is_dir():  # SQLite would call it an error of the disk
        raise LogFailed(f"{path}: a folder, and no file")
    try:
        connection = sqlite3.connect(
            uri(path, "ro"), uri=True, isolation_level=None, check_same_thread=False,
            timeout=limits.LOG_OPEN_WAIT_MS / 1000,
        )  # fmt: skip
    except sqlite3.Error as error:
        raise translated(error, str(path)) from error
    try:
        connection.execute("PRAGMA query_only = 1")
        if not check_version(connection, path):
            raise LogFailed(f"{path}: there is no log in it yet")
    except sqlite3.Error as error:
        connection.close()
        raise translated(error, str(path)) from error
    except BaseException:
        connection.close()
        raise
    return connection


def check_version(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether there are tables at all. Raises LogCorrupt, LogVersion."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables and not application and not version:
        return False
    if application != APPLICATION_ID:
        raise LogCorrupt(f"{path}: an SQLite file, but no log of this package")
    if version != VERSION:
        raise LogVersion(f"{path}: format {version}; this version reads and writes {VERSION}", version, VERSION)
    return True


def open_writer(
    path: Path, durability: str, size_max: int, check: bool, epoch: Callable[[], int], lock: Lock
) -> sqlite3.Connection:
    """The one connection that writes; makes the file if there is none. The lock must be held. Raises LogError."""
    try:
        had_wal = path.with_name(path.name + "-wal").stat().st_size > 0  # a reader leaves an empty one behind
    except FileNotFoundError:
        had_wal = False
    connection = None
    try:
        connection = sqlite3.connect(
            uri(path, "rwc"), uri=True, isolation_level=None, timeout=limits.LOG_OPEN_WAIT_MS / 1000,
        )  # fmt: skip
        there = check_version(connection, path)
        prepare(connection, path, size_max)
        if check:
            verify(connection, path)
        if not there:
            create(connection)
        connection.create_function("new_epoch", 0, lambda: signed(epoch()), deterministic=False)
        begin(connection, path, durability, had_wal, lock)
        connection.execute(f"PRAGMA synchronous = {DURABILITIES[durability]}")
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise translated(error, str(path)) from error
    except BaseException:
        if connection is not None:
            connection.close()
        raise
    return connection


def prepare(connection: sqlite3.Connection, path: Path, size_max: int) -> None:
    """How the connection writes. What it does until it is open is always for the disk."""
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise LogFailed(f"{path}: no write-ahead log on this file system (journal mode {mode})")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute(f"PRAGMA journal_size_limit = {limits.LOG_WAL_BYTES}")
    connection.execute("PRAGMA cell_size_check = ON")
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    connection.execute(f"PRAGMA max_page_count = {max(1, size_max // page_bytes)}")


def create(connection: sqlite3.Connection) -> None:
    """All tables or none."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in TABLES.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def boot() -> str:
    """What names the time since the machine started; empty where nothing does."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def begin(connection: sqlite3.Connection, path: Path, durability: str, had_wal: bool, lock: Lock) -> None:
    """Notes on the disk that a writer is at work, and gives new epochs where the last one's counters may be lost.

    They may be where the last writer did not close and its last commits had not been brought to the disk before the
    machine went down (durability "os"), or the write-ahead log that it must have left is gone; and where this is not
    the file that it wrote, but a copy: another file, or one with an older mark.
    """
    meta = dict(connection.execute("SELECT name, value FROM meta"))
    now = {"clean": 0, "boot": boot(), "inode": path.stat().st_ino, "durability": durability, "mark": new_mark()}
    lost = False
    mark, believed = meta.get("mark"), lock.marks()
    if meta:
        rebooted = not now["boot"] or meta.get("boot") != now["boot"]
        unclean = not meta.get("clean")
        lost = meta.get("inode") != now["inode"] or (mark is not None and mark not in believed)
        lost = lost or (unclean and (not had_wal or (meta.get("durability") != "disk" and rebooted)))
    # both, until the log has the new one: a crash between the two must look like nothing else
    lock.note(*([mark] if mark in believed else []), str(now["mark"]))
    connection.execute("BEGIN IMMEDIATE")
    if lost:
        renew(connection)
    connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", now.items())
    connection.execute("COMMIT")
    # into the file itself: else one whose write-ahead log was taken away would look as if it had been closed
    empty_wal(connection)
    lock.note(str(now["mark"]))


def empty_wal(connection: sqlite3.Connection) -> None:
    """Brings the write-ahead log into the file. One that is quite empty would look as if it had been taken away."""
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('carried', ?)", (new_mark(),))


def new_mark() -> str:
    """A mark that no other writer, nor this one at another time, has left."""
    return secrets.token_hex(8)


def renew(connection: sqlite3.Connection) -> None:
    """A new epoch for every stream; what remembered positions of the old ones goes."""
    connection.execute("UPDATE streams SET epoch = new_epoch()")
    connection.execute("DELETE FROM keys")
    connection.execute("DELETE FROM causes")


def end(connection: sqlite3.Connection, lock: Lock) -> None:
    """Notes that the counters can be believed, once everything before is on the disk.

    With another mark: a backup that was made while this writer was at work has the one before. Raises LogFailed.
    """
    mark = new_mark()
    lock.note(*lock.marks()[-1:], mark)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(
        "UPDATE meta SET value = CASE name WHEN 'mark' THEN ? ELSE 1 END WHERE name IN ('mark', 'clean')", (mark,)
    )
    lock.note(mark)


def renew_file(path: Path) -> int:
    """A new epoch for every stream of a log that nobody has open; returns how many streams there are.

    Nothing else in it changes: what is kept and for how long is its server's to say. Raises LogError.
    """
    open_reader(path).close()  # else a file that is not there would be made
    lock = Lock(path)
    lock.take()
    try:
        connection = open_writer(path, "disk", limits.LOG_FILE_BYTES, False, new_epoch, lock)
        try:
            connection.execute("BEGIN IMMEDIATE")
            renew(connection)
            connection.execute("COMMIT")
            end(connection, lock)
            (count,) = connection.execute("SELECT count(namespace) FROM streams").fetchone()
        except sqlite3.Error as error:
            raise translated(error, str(path)) from error
        finally:
            connection.close()
    finally:
        lock.give_back()
    return int(count)


def verify(connection: sqlite3.Connection, path: Path) -> None:
    """Reads the whole file. Raises LogCorrupt when it is damaged, or has a hole where its counters know of none."""
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise LogCorrupt(f"{path}: {found}")
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'events'").fetchone():
        return
    wrong = connection.execute(
        "SELECT id, top, low, seen FROM (SELECT id, top, low, (SELECT count(*) FROM events WHERE stream = id"
        " AND offset BETWEEN low AND top) AS seen FROM streams WHERE namespace IS NOT NULL)"
        " WHERE seen != top - low + 1 LIMIT 1"
    ).fetchone()
    if wrong:
        raise LogCorrupt(f"{path}: stream {wrong[0]} should have events {wrong[2]} to {wrong[1]}, and has {wrong[3]}")
