"""Every bound of the package, named once. Sizes in bytes, times in nanoseconds (`_ns`) or seconds (`_s`).

A limit lives here or nowhere; each has a test that reaches it.
"""

from __future__ import annotations

KIB = 1024
MIB = 1024 * 1024
MS_NS = 1_000_000
SECOND_NS = 1_000_000_000

# URLs and options
URL_CHARS_MAX = 8192
URL_OPTIONS_MAX = 64
OPTION_CHARS_MAX = 4096  # one textual value
HOST_CHARS_MAX = 320  # 253 of a name (RFC 1035), or an address with its scope
PORT_MAX = 65_535
TIME_S_MAX = 366 * 86_400.0
WATER_BYTES_MAX = 1024 * MIB  # what high_water, low_water and inbox may be set to
WINDOW_BYTES_MIN = 4 * KIB
WINDOW_BYTES_MAX = 1024 * MIB
SOCKET_BUFFER_BYTES_MAX = 1024 * MIB
DSCP_MAX = 63
BUSY_POLL_US_MAX = 1_000_000
BACKLOG_MAX = 65_535

# Messages
MESSAGE_BYTES_DEFAULT = 1 * MIB
MESSAGE_BYTES_MAX = 16 * MIB
UDP_MESSAGE_BYTES_MAX = 65_507  # 65,535 less the IPv4 and UDP headers
REASON_BYTES_MAX = 256

# Channels and streams of one connection
CHANNELS_MAX = 256
CHANNEL_WINDOW_BYTES = 4 * MIB
CONNECTION_WINDOW_BYTES = 16 * MIB
MESSAGE_COST_BYTES = 32  # of credit beside its payload, or messages of no bytes would fill a memory for nothing
STREAMS_MAX = 64  # open at once, each way
STREAM_WINDOW_BYTES = 1 * MIB
STREAM_CHUNK_BYTES = 64 * KIB
STREAM_MERGE_BYTES = 4 * KIB  # smaller pieces of a stream that wait for their reader are merged
PINGS_OUTSTANDING_MAX = 64
PONGS_QUEUED_MAX = 64

# Outbound buffer of one connection: send() waits above high water, send_nowait() raises at twice that
HIGH_WATER_BYTES = 1 * MIB
LOW_WATER_BYTES = 256 * KIB
BLOCKED_HIGH_BYTES = 16 * KIB  # waiting for the peer's credit: kept short, for these messages can't be merged
HARD_LIMIT_FACTOR = 2
UNRELIABLE_QUEUE_BYTES = 256 * KIB  # oldest unsent unreliable message is dropped above it
REDUNDANCY_MAX = 8  # extra copies of a message, where a transport sends any
PRIORITY_MIN = -8
PRIORITY_MAX = 7  # larger goes first
QUEUED_MESSAGES_MAX = 262_144  # queue entries that are not merged into a byte run

# Inbox of a connection whose framing has no credit
INBOX_HIGH_BYTES = 1 * MIB
INBOX_LOW_BYTES = 256 * KIB

# Stream pipes
READ_BYTES_MAX = 256 * KIB  # one read
RECEIVE_BEFORE_TRANSMIT_BYTES = 128 * KIB  # acks that wait for a whole window starve the sender
ALLOCATOR_BLOCK_BYTES = 1 * MIB  # freed memory kept for the next buffers is at most twice this
WRITE_BUFFERS_MAX = 64  # buffers in one writev
EVENTS_HIGH = 4096  # events of a user machine that wait for its reader; reading pauses above
EVENTS_LOW = 1024
STOPPED_POLL_CHECK_NS = 250 * MS_NS  # after a read, on uvloop: does the loop still watch the socket
READS_AFTER_FAILURE = 16  # reads of what a vanished peer had said before
PREFACE_BYTES_MAX = 1024
LINE_BYTES_MAX = 64 * KIB
ACCEPTS_PER_TICK = 64
ACCEPT_BACKOFF_S = 0.1
ACCEPT_BACKLOG = 4096
ACCEPT_QUEUE_MAX = 1024  # connections waiting for Server.accept()
CONNECTIONS_MAX = 65_536  # per server

# Datagram pipes
DATAGRAMS_PER_TICK = 1024
TICK_NS = 1 * MS_NS
DATAGRAM_BYTES_MAX = 65_535
GSO_SEGMENTS_MAX = 64
GSO_BYTES_MAX = 65_000
SOCKET_BUFFER_BYTES = 2 * MIB
UDP_PEERS_MAX = 4096
UDP_PEERS_LIMIT = 1_048_576  # what max_peers may be set to
UDP_IDLE_NS = 60 * SECOND_NS
UDP_INBOX_BYTES = 1 * MIB  # per peer, oldest dropped
UDP_INBOX_MESSAGES = 32_768  # the same for messages of hardly any bytes
UDP_QUEUED_MESSAGES = 32_768  # unsent of one peer, oldest dropped
UDP_FLUSH_BYTES = 60 * KIB  # queued on one socket, above which a send does not wait for the end of the tick
UDP_FLUSH_MESSAGES = 1024
SENDS_PER_FLUSH = 64  # system calls before the loop has its turn
DATAGRAMS_PER_CALL = 64  # in one system call; trains count as one
DATAGRAM_BATCH_BYTES = 256 * KIB  # taken from a machine before the kernel is asked to send
PATHS_CACHED_MAX = 8192  # pairs of addresses that one socket keeps ready-made
SOCKET_ERRORS_PER_CALL = 64  # ICMP errors taken off a socket at once
LINGERING_SOCKETS_MAX = 256  # of clients that repeat a goodbye after their end, in one process; others close at once
LOOP_DATAGRAMS_QUEUED = 4096  # by a loop's own datagram transport, oldest dropped
LOOP_WRITE_BUFFER_BYTES = 64 * KIB  # in a loop's own datagram transport, above which we wait

# Codecs
MSGPACK_DEPTH_MAX = 32
MSGPACK_ELEMENTS_MAX = 1_000_000
MSGPACK_MAP_ENTRIES_MAX = 65_536
JSON_DEPTH_MAX = 32
JSON_ELEMENTS_MAX = 1_000_000
EXPLAIN_PARTS_MAX = 1_000_000  # parts looked at to say which one of a message can't be encoded
CODEC_BUFFER_BYTES = 1 * MIB  # an encoder that has grown beyond it is not kept

# Times
CONNECT_TIMEOUT_S = 10.0
HANDSHAKE_NS = 10 * SECOND_NS
KEEPALIVE_NS = 15 * SECOND_NS
IDLE_NS = 30 * SECOND_NS
CLOSE_GRACE_S = 5.0
CANCELLED_HANDLER_S = 5.0  # how long a closing server waits for handlers that it has cancelled
HAPPY_EYEBALLS_DELAY_S = 0.25  # RFC 8305 section 5
ADDRESSES_MAX = 32  # tried per connect
BIND_TRIES = 8  # for a port that is free for every address of a name

# Unix sockets
UNIX_PATH_BYTES_MAX = 107  # sun_path less its NUL
UNIX_LOCK_TRIES = 100  # for the folder, while somebody else is binding in it
UNIX_RETRY_S = 0.02  # between those, and between connects while the server's queue is full

# TLS
HANDSHAKES_MAX = 1024  # half-open on one listener; accepting waits above
HANDSHAKE_CROWDED_S = 1.0  # how old the oldest may get while others wait for room
TLS_SHUTDOWN_S = 2.0  # for the peer's close_notify
ALPN_NAMES_MAX = 32
ALPN_NAME_BYTES_MAX = 255  # RFC 7301 section 3.1

# WebSocket (RFC 6455, RFC 7692) and the HTTP that it begins with (RFC 9110, RFC 9112)
WS_REASON_BYTES_MAX = 123  # of a CLOSE: a control frame has 125 bytes at most, two are the status
WS_CONTROL_BYTES_MAX = 125  # body of a control frame (RFC 6455 section 5.5)
WS_CONTROL_QUEUE_BYTES = 64 * KIB  # pings and answers that wait for a peer that does not read
WS_KEYS_BYTES = 256  # masking keys drawn at once
WS_FRAGMENT_BYTES_MIN = 16  # what option fragment may be set to
WS_SUBPROTOCOLS_MAX = 32  # offered, or known to a server
WS_ORIGINS_MAX = 256  # that a server lists
WS_EXTENSIONS_MAX = 16  # offers of one handshake that are looked at
WS_EXTENSION_BYTES_MAX = 4 * KIB  # of their header lines together
WS_COMPRESS_ABOVE_BYTES = 64  # shorter messages travel as they are
WS_WINDOW_BITS = 12  # of a compressor, unless asked for otherwise: 32 KiB for each connection
WS_INFLATE_TURN_BYTES = 1 * MIB  # built from compressed messages before others have their turn; the last may go beyond
WS_INFLATE_COST_BYTES = 512  # what a compressed message counts there beside its bytes: the time that it takes
WS_FINAL_BLOCKS_MAX = 64  # of one compressed message; each costs a new decompressor
HTTP_TARGET_BYTES_MAX = 8 * KIB  # path and query of a request
HTTP_HEAD_BYTES_MAX = 16 * KIB  # request or status line, and header lines
HTTP_HEADERS_MAX = 100
HTTP_BODY_BYTES_MAX = 1 * MIB  # of a request, unless asked for otherwise
HTTP_PIPELINED_BYTES = 64 * KIB  # behind a request that is being answered; reading pauses above
HTTP_EVENTS_PER_TURN = 64  # heads, chunks and ends of requests that are read before other connections have their turn
HTTP_REQUESTS_MAX = 1000  # on one connection
HTTP_CONNECTIONS_MAX = 1024  # of one listener that are no WebSockets; the one idle for longest makes room
HTTP_SPARE_SHARE = 8  # of those, one in so many that no route may hold: they stay free for handshakes
HTTP_IDLE_S = 15.0  # between two requests, or for an answer to move on
HTTP_HANDLER_S = 60.0  # for a route to answer
HTTP_DRAIN_S = 1.0  # for answers under way when a server closes
HTTP_ROUTES_MAX = 256

# Connections that come back
BACKOFF_S_MAX = 86_400.0
RECONNECT_UNREAD_MAX = 8  # lost connections whose messages still wait for their reader, oldest dropped
RECONNECT_STATES_MAX = 64  # changes that wait for one reader of `states()`, oldest dropped
RECONNECT_RESET_S = 5.0  # a connection that lasted so long starts the back-off afresh

# Workers
WORKERS_MAX = 256
WORKER_START_S = 30.0  # until a new process reports that it serves
WORKER_REPORT_S = 1.0  # between two reports of its statistics
WORKER_CRASHES_MAX = 10  # in a row, none of which lasted; then it is given up
WORKER_LASTED_S = 10.0  # a worker that ran so long did not crash at once
WORKER_EXIT_S = 2.0  # from the end of its grace to the end of its process
WORKER_MESSAGE_BYTES = 4 * MIB  # on the line between parent and worker

# Commands that run for a while
TOOL_COLUMNS, TOOL_LINES = 80, 24  # of a terminal that does not say
TOOL_SAMPLES_MAX = 262_144  # measured times that percentiles are of; an even sample beyond
EVENTS_SHOWN_CHARS = 200  # of an event's data for people, unless asked for more
EVENTS_TAIL = 10  # newest events of a stream, unless asked for more
EVENTS_TAIL_MAX = 1_000_000
EVENTS_TAIL_STREAMS_MAX = 64  # looked at at once
EVENTS_TAIL_LOOK_S = 1.0  # between two looks for streams that begin
EVENTS_LAG_STREAMS = 100  # listed, unless asked for more
EVENTS_LAG_STREAMS_MAX = 10_000
EVENTS_LAG_SESSIONS = 10  # of each stream, unless asked for more
EVENTS_LAG_SESSIONS_MAX = 1000
EVENTS_LAG_CURSORS_MAX = 64  # files
PING_INTERVAL_S_MIN = 0.001
PING_BYTES_MIN = 16  # of a message to be echoed: which run and which ping
PING_WAITING_MAX = 65_536  # messages that wait for their echo
PING_FLOOD_WINDOW = 16  # pings of a flood that wait for their answer
PING_FLOOD_S = 10.0  # length of a flood that was given neither a count nor a deadline
PING_LATE_MAX = 1024  # pings counted as lost whose echo would still be known
PROXY_PACKETS_MAX = 262_144  # datagrams or pieces under way, both directions; more are dropped, or not read
PROXY_BYTES_MAX = 256 * MIB  # the same
PROXY_CLIENTS_MAX = 512  # of datagrams, each with a socket; the one silent for longest makes room
PROXY_CONNECTIONS_MAX = 256  # of streams, each with two sockets; more are refused
PROXY_IDLE_S = 60.0  # silence after which a client of datagrams is forgotten
PROXY_READS_PER_TURN = 64  # of one socket, before others have their turn
PROXY_RELEASES_PER_TURN = 1024  # datagrams or pieces let go at once
PROXY_PIPE_BYTES = 4 * MIB  # of one stream and direction under way; reading pauses above
PROXY_PIECE_BYTES = 64 * KIB  # one read of a stream
PROXY_RATE_PIECE_BYTES = 1448  # pieces into which a rate cuts a stream
PROXY_CONNECT_S = 10.0  # for a stream to the target

# A server that tells how it is doing
STATUS_CLIENTS_MAX = 4  # that ask one server at once
STATUS_QUESTION_BYTES_MAX = 64
STATUS_CONNECTIONS_MAX = 256  # in one answer, the oldest; the others are counted
STATUS_CONNECTIONS_PER_TURN = 16  # before the event loop has its turn
TOP_SERVERS_MAX = 64  # shown at once
TOP_ANSWER_BYTES_MAX = 4 * MIB
TOP_ANSWER_S = 5.0  # for which an answer is waited for
TOP_ROWS = 20  # of connections where there is no terminal whose height would say

# Captures and traces that are read
CAPTURE_PACKET_BYTES_MAX = 4 * MIB  # Wireshark stops at 256 KiB, offloads on loopback may be over it
CAPTURE_BLOCK_BYTES_MAX = 16 * MIB  # of pcapng
CAPTURE_INTERFACES_MAX = 4096  # of one section
QLOG_EVENTS_MAX = 1024  # of one connection's trace that wait to be written
QLOG_BYTES_MAX = 256 * KIB  # of packets among them
QLOG_FLUSH_NS = 1 * SECOND_NS  # an event after so long writes those that wait
QLOG_FILE_BYTES_MAX = 64 * MIB  # of one trace; it ends there
QLOG_FILES_MAX = 10_000  # that one process begins; later connections have none
SQLOG_RECORD_BYTES_MAX = 4 * MIB  # one event that is read
TIMELINE_POINTS_MAX = 1_000_000  # of one picture, before those on the same pixel become one
SIGHT_CONNECTIONS_MAX = 16_384  # that a capture is followed for; the one silent for longest makes room
INSPECT_PACKETS_PER_TURN = 64  # before a signal is heard
INSPECT_CONNECTIONS_LISTED = 64  # at the end, for people
SIGHT_CIDS_MAX = 1024  # ids of one connection beside the first two that are known
SIGHT_PAIRS_MAX = 1024  # pairs of addresses of one connection, likewise
SIGHT_BODY_BYTES = 64  # of a message that are shown, unless asked for more
SIGHT_BODY_BYTES_MAX = 64 * KIB

# Simulated network
SIM_QUEUE_BYTES = 16 * MIB  # largest (and default) queue before a link's rate
SIM_EVENTS_MAX = 1_000_000  # datagrams in the air, or waiting in one inbox; events and timers kept for one side or loop
SIM_FLIGHT_BYTES = 256 * MIB  # in the air, all links of a network together
SIM_ADDRESSES_MAX = 65_536
SIM_LINKS_MAX = 65_536
SIM_CHANGES_MAX = 4096  # scheduled changes and blackouts of one link
SIM_TRACE_LINES_MAX = 100_000  # readable lines that a trace keeps
SIM_PIPE_BYTES = 256 * KIB  # in the air each way on a byte link; more waits in the machine
SIM_RUN_NS = 3600 * SECOND_NS  # virtual time that one run() may take
SIM_STEPS_MAX = 100_000_000  # instants that one run() may visit
SIM_STILL_MAX = 100_000  # wake-ups at one and the same instant
SIM_FLUSH_MAX = 100_000  # transmit() calls of one flush
SIM_LOOP_TICKS_MAX = 1_000_000  # turns of a simulated event loop at one and the same instant
SIM_EXECUTOR_TURN_S = 1.0  # real time that a later executor job waits for an earlier one
SIM_EXECUTOR_TICKS = 1000  # turns of a busy simulated loop before it waits for its executor
SIM_ENTROPY_BYTES_MAX = 1 * MIB  # one call

# Memory pipes
MEMORY_PIPE_BYTES = 256 * KIB  # written and not yet read by the peer, each way; the writer waits above it
MEMORY_WINDOW_BYTES = 4 * MIB  # the same where the link has a delay or a rate: what is on its way counts
MEMORY_SEGMENT_BYTES = 1448  # pieces into which a rate cuts a byte pipe
MEMORY_INBOX_BYTES = 2 * MIB  # datagrams not yet read from one socket; more are dropped, as by a full kernel buffer
MEMORY_RETRY_NS = 10 * MS_NS  # between looks at a link that is down without a known end
MEMORY_ROUTES_MAX = 65_536  # datagram clients of one name

# Reliable UDP
RUDP_ACK_RANGES_KEPT = 64  # of packet numbers that came; the lowest is forgotten
RUDP_ACK_RANGES_SENT = 32  # in one ack
RUDP_ACK_DELAY_MIN_NS = 250_000
RUDP_ACK_DELAY_MAX_NS = 5 * MS_NS  # and what is announced to the peer
RUDP_ACK_RIDE_NS = 25 * MS_NS  # own data that is due this soon takes the ack along
RUDP_ACK_POLICY_PACKETS_PER_S = 20_000  # that arrive, from which on the peer is asked to acknowledge less often
RUDP_ACK_POLICY_NS = 10 * MS_NS  # over which they are counted, at least
RUDP_ACK_THRESHOLD_MAX = 64  # packets after which a peer may be asked to acknowledge, and after which we do
RUDP_ACKS_PER_ROUND = 8  # that the peer is asked for in a round trip, at least
RUDP_ACK_ONLY_MAX = 32  # packets that only acknowledge, before one asks for an ack itself
RUDP_DATAGRAM_BYTES_MIN = 1200  # what every path carries (RFC 9000 section 14)
RUDP_DATAGRAM_BYTES_MAX = 65_000
RUDP_DATAGRAMS_BUFFERED = 8  # of the largest size that is announced, which a socket's receive buffer has to hold
RUDP_MTU_TRIES = 3  # lost probes of one size, after which it counts as too large for the path (RFC 8899 section 5.1.2)
RUDP_MTU_RAISE_NS = 600 * SECOND_NS  # until sizes that failed are tried again (the same)
RUDP_MTU_WAIT_NS = 10 * MS_NS  # until a congestion window that was too small for the next size is looked at again
RUDP_BLACK_HOLE_PACKETS = 3  # lost packets over 1,200 bytes without a later one that arrives (section 4.3)
RUDP_ECN_TEST_PACKETS = 10  # marked packets that test a path (RFC 9000 appendix A.4)
RUDP_RATE_MAX = 1 << 40  # bytes per second
RUDP_KEY_BYTES_MIN = 16
RUDP_RING_MIN = 16  # records of sent packets that a connection begins with, a power of two
RUDP_RING_MAX = 65_536
RUDP_RING_RESERVE = 1024  # of them, left by data for acks and probes
RUDP_LATE_MESSAGES = 32 * KIB  # by which a packet may come late, and the numbers of its messages are read right
RUDP_LATE_FLIGHTS = 512  # the same for its own number, in what is in flight: at least 2 bytes, 3 from 64 packets on
RUDP_GAPS_MAX = 4096  # holes in what came of a lane, or of a message
RUDP_UNFINISHED_MAX = 8192  # reliable messages of a connection that have come in part
RUDP_LOOSE_UNFINISHED_MAX = 256  # unreliable ones of a lane
RUDP_LOOSE_UNFINISHED_BYTES = 4 * MIB  # unreliable ones of a connection
RUDP_LOOSE_WINDOW = 1024  # unreliable messages back to which a duplicate is known
RUDP_UNRELIABLE_BYTES_MAX = 64 * KIB  # an unreliable message
RUDP_WINDOW_BYTES = 256 * KIB  # credit that a channel and a connection begin with
RUDP_SKIPS_PER_FRAME = 32
RUDP_RIDERS_MAX = 64  # small messages watched for redundant copies
RUDP_RIDER_BYTES = 256  # largest message that is copied, and copies in one packet
RUDP_RIDES = 3  # copies of a small message, each in a later packet
RUDP_TINY_BYTES = 32  # a message of up to so many has one more
RUDP_TINY_RIDES = 4
RUDP_COPY_BYTES_PER_S = 48 * KIB  # 64 bytes every 5 ms ride three times for 42
RUDP_COPY_BURST_BYTES = 4 * KIB
RUDP_COPIES_START_NS = 10 * SECOND_NS  # for which a connection starts with copies
RUDP_COPIES_HOLD_NS = 30 * SECOND_NS  # and for which it has them after a loss
RUDP_GUARD_SAMPLES = 16  # round trips in one window of the guard that turns copies off where they fill a queue
RUDP_GUARD_MARGIN_NS = 10 * MS_NS
RUDP_GUARD_OFF_MIN_NS = 1 * SECOND_NS
RUDP_GUARD_OFF_MAX_NS = 60 * SECOND_NS
RUDP_INITIAL_RTT_NS = 100 * MS_NS
RUDP_RTT_MAX_NS = 60 * SECOND_NS  # one sample of a round trip
RUDP_GRANULARITY_NS = 1 * MS_NS  # kGranularity of RFC 9002
RUDP_REORDER_PACKETS_MIN = 3  # packet threshold of loss detection (RFC 9002 section 6.1.1)
RUDP_REORDER_PACKETS_MAX = 300
RUDP_REORDER_EIGHTHS_MIN = 9  # of a round trip, its time threshold (section 6.1.2)
RUDP_REORDER_EIGHTHS_MAX = 16
RUDP_REORDER_ROUNDS = 16  # round trips between their steps back (as RFC 8985 section 6.2)
RUDP_PTO_MAX_NS = 1 * SECOND_NS  # to which the probe time-out backs off, unless it is longer by itself
RUDP_SPURIOUS_NS = 2 * SECOND_NS  # so long the record of a lost packet is kept, in case it arrives after all
RUDP_CONGESTION_BYTES_MAX = 256 * MIB  # congestion window
RUDP_FLIGHT_BYTES_MAX = 4 * MIB  # sent and not acknowledged, that don't count as waiting: beyond, high water holds
RUDP_FLIGHT_ALL_BYTES_MAX = 256 * MIB  # the same of all connections of one socket together
RUDP_PACER_BYTES_MAX = 1024 * MIB  # burst, and debt, of a pacer
RUDP_PACER_LATE_NS = 8 * MS_NS  # by which a wake-up may be late and the rate is kept
RUDP_PTO_TRIES = 40  # probe time-outs in a row after which the peer counts as gone
RUDP_HELLO_NS = 300 * MS_NS  # until the first HELLO is repeated: three times the round trip that is assumed
RUDP_HELLO_MAX_NS = 1 * SECOND_NS
RUDP_CLOSE_TRIES = 8  # times that CLOSE is sent without an answer
RUDP_LINGER_MAX_NS = 10 * SECOND_NS  # that a closed connection is kept to repeat its goodbye: all tries of a peer
RUDP_SKIP_EVERY = 1024  # at most so many packet numbers until one is left out on purpose
RUDP_COOKIE_BYTES_MAX = 255
RUDP_COOKIE_NS = 10 * SECOND_NS  # for which a cookie is good, at most
RUDP_PARAMETERS_BYTES_MAX = 1024
RUDP_PEER_ACK_DELAY_US_MAX = 1_000_000  # that a peer may announce
RUDP_VERSIONS_MAX = 16  # listed in a REFUSE
RUDP_HALF_OPEN_MAX = 1024
RUDP_HALF_OPEN_COOKIE = 64  # half-open handshakes from which on addresses have to be proved first
RUDP_HELLOS_PER_S = 500  # likewise
RUDP_AMPLIFICATION = 3  # bytes sent to an address that is not proved, for each that came (RFC 9000 section 8.1)
RUDP_PATHS_MAX = 2  # other addresses of a peer under validation
RUDP_CHALLENGES_MAX = 4  # of one path that may be answered, and of the peer that wait for an answer
RUDP_VALIDATION_NS = 3 * SECOND_NS  # that an address has to answer a challenge in, at least
RUDP_CIDS_MAX = 4  # connection ids of one side that the other keeps
RUDP_ROAM_NS = 200 * MS_NS  # between two looks of a client in trouble at its own address
RUDP_MOVED_PACKETS = 64  # the last in flight, of which credit is told again when the port of the peer has changed
RUDP_ASK_NS = 1 * SECOND_NS  # between two questions of a client why nothing more comes
RUDP_ASK_STEADY_NS = 20 * MS_NS  # the same in the midst of a transfer, at least,
RUDP_ASK_TRIES = 4  # so many of which are asked while no more than answers come
RUDP_HUSH_NS = 4 * MS_NS  # a pause that is asked about, at least
RUDP_RETIRES_MAX = 16  # given up, and the peer has not said that it knows; then it breaks a rule
RUDP_CID_NS = 1 * SECOND_NS  # after which a client gets a spare one, and the next after one was given up
RUDP_REPLIES_MAX = 256  # answers to strangers that wait to leave
RUDP_RESETS_PER_S = 10
RUDP_CLOSED_MAX = 4096  # closed connections whose goodbye is repeated on demand
RUDP_STREAM_CHANNEL = 256  # hidden, behind the last that users have
RUDP_STREAM_FRAME_BYTES_MAX = 65 * KIB  # one message on it
RUDP_HIDDEN_BYTES = 4 * MIB  # that came on it too early, or wait on it for a peer that opens streams and reads nothing

# Events: names and tables
EVENTS_NAME_BYTES_MAX = 255  # of an event, a room or a namespace, in UTF-8
EVENTS_FRAME_COST_BYTES = 64  # of a message's size, left for the header of the frame it travels in
EVENTS_ROOMS_MAX = 1024  # that one session is in
EVENTS_SESSIONS_MAX = 100_000  # without a connection that a server keeps in memory; the log has the others
EVENTS_HELLO_S = 10.0  # from a connection to its first frame
EVENTS_AUTHORIZE_S = 10.0  # that `authorize` and `authorize_room` may take
EVENTS_WAITING_HELLOS_MAX = 4096  # connections that are being let in at once
EVENTS_WAITING_HELLOS_ADDRESS_MAX = 1024  # the same from one address
EVENTS_MIDDLEWARE_MAX = 64
EVENTS_HANDLERS_MAX = 4096  # of one namespace, or one client
EVENTS_TEXT_CHARS_MAX = 200  # of an error's or a refusal's text

# Events: from a client to its server
EVENTS_WINDOW = 256  # numbered messages of a session that are not settled
EVENTS_WINDOW_BYTES = 1 * MIB  # the same in bytes, unless it is one message alone
EVENTS_INBOX_BYTES = 2 * MIB  # of messages that wait for a server's handlers; its client is not read above
EVENTS_INBOX_CALL_BYTES = 4 * MIB  # the same while that client is asked something; above, it is cut off
EVENTS_REPEATS_MAX = 512  # messages sent again whose stored replies wait for room
EVENTS_SETTLING = 64  # messages of a session that were handled and are being stored
EVENTS_SETTLING_BYTES = 256 * KIB  # of their replies
EVENTS_HANDLER_S = 60.0  # that a handler may take
EVENTS_BLOCKED_S = 1.0  # that the event loop of a server may stand still before that is logged
EVENTS_BLOCKED_QUIET_S = 30.0  # between two such lines
EVENTS_UNHANDLED_MAX = 32  # names of one namespace that nobody handles, and that are logged, each once
EVENTS_CONCURRENCY_MAX = 256  # handlers of one session at once
EVENTS_SESSION_S = 3600.0  # that a session is kept without a connection
EVENTS_CALLS_MAX = 65_536  # of a server that wait for their answers
EVENTS_CLIENT_CALLS_MAX = 256  # of a server that one client works on or has waiting

# Events: from a server to its clients
EVENTS_OUTBOUND_BYTES = 1 * MIB  # unsent to one client, above which it is a reader of the log
EVENTS_OUTBOUND_LOW_BYTES = 256 * KIB
EVENTS_PAGE_EVENTS = 256  # one read of the log for one client
EVENTS_PAGE_BYTES = 64 * KIB
EVENTS_FLUSH_BYTES = 256 * KIB  # of pages, after which they have to have left before the next is read
EVENTS_READS_MAX = 16  # of the log at once, for all clients together
EVENTS_HOLD_EVENTS = 256  # newest events of a stream that are held while somebody catches up with it
EVENTS_HOLD_BYTES = 256 * KIB
EVENTS_REPLAY_EVENTS = 10_000  # that one resume may bring
EVENTS_REPLAY_BYTES = 16 * MIB
EVENTS_CONFLATED_MAX = 256  # keys of volatile events whose latest value waits for room, of one client
EVENTS_ADVANCE_S = 0.1  # until a client hears of events that it was not meant to see
EVENTS_RESUMES_PER_S = 100.0  # from one address that are let in: new ones alone would not fill a log with sessions
EVENTS_RESUMES_BURST = 1000  # so many at once before that
EVENTS_RESUMES_ALL_PER_S = 1000.0  # the same from all addresses together
EVENTS_RESUMES_ALL_BURST = 4000
EVENTS_NEW_ROOMS_PER_S = 0.5  # that clients from one address begin where nobody is asked about rooms: they fill no log
EVENTS_NEW_ROOMS_BURST = 4096
EVENTS_NEW_ROOMS_ALL_PER_S = 8.0  # the same from all addresses together
EVENTS_NEW_ROOMS_ALL_BURST = 65_536
EVENTS_ADDRESSES_MAX = 16_384  # that a server remembers for these, the one not seen for longest forgotten
EVENTS_RETRY_S = 2.0  # the middle of what others are told to wait for
EVENTS_DRAIN_S = 10.0
EVENTS_PRESENCE_S = 15.0  # without a connection, after which a client is no longer in a room for others

# Events: in a client
EVENTS_QUEUE_EVENTS = 1024  # of one stream that wait for the program; above, the server is asked to stop
EVENTS_QUEUE_BYTES = 1 * MIB
EVENTS_CLIENT_STREAMS_MAX = 2048  # rooms that a client knows of: more than a server keeps for one session
EVENTS_VOLATILE_MAX = 1024  # volatile events that wait for the program, oldest dropped
EVENTS_REQUESTS_MAX = 1024  # joins and leaves that wait for their answers
EVENTS_CURSOR_S = 0.2  # until a cursor that has moved is written to its file
EVENTS_CURSOR_FILE_BYTES_MAX = 4 * MIB

# Logs of events
LOG_NAME_BYTES_MAX = 255  # a namespace, a room, the id of a session, a key: UTF-8
LOG_PAYLOAD_BYTES_MAX = MESSAGE_BYTES_MAX
LOG_SKIP_MAX = 256  # sessions that one event leaves out
LOG_EVENT_COST_BYTES = 64  # that an event counts beside its payload and its skip list
LOG_BATCH_EVENTS_MAX = 1024  # of one commit() call
LOG_BATCH_BYTES_MAX = 32 * MIB  # the same, at their cost
LOG_GROUP_EVENTS = 1024  # after which a group commit takes no further call in
LOG_GROUP_BYTES = 8 * MIB  # the same
LOG_QUEUE_EVENTS = 16_384  # on their way to a commit, above which calls wait; a call counts as one at least
LOG_QUEUE_BYTES = 32 * MIB  # the same; one call alone may be over it
LOG_STREAMS_MAX = 1_048_576
LOG_SESSIONS_MAX = 1_048_576
LOG_SESSION_STREAMS_MAX = 1024  # that one session has joined
LOG_SESSION_BYTES_MAX = 64 * KIB  # its identity
LOG_PROOF_BYTES_MAX = 64
LOG_BEYOND_MAX = 1024  # numbers of handled messages above the contiguous ones, and how far above one may be
LOG_REPLY_BYTES_MAX = 1 * MIB
LOG_REPLIES_MAX = 1024  # stored for one session, oldest forgotten
LOG_REPLIES_BYTES_MAX = 4 * MIB  # the same
LOG_CAUSES_MAX = 4096  # effects of one session's messages that have no receipt yet
LOG_KEYS_MAX = 1_048_576  # of appends, oldest forgotten
LOG_KEY_WINDOW_MS = 120_000  # for which a key is known
LOG_SECRETS_MAX = 64
LOG_NAMESPACES_MAX = 4096  # with bounds of their own
LOG_PAGE_EVENTS_MAX = 1024  # one read
LOG_PAGE_BYTES_MAX = 1 * MIB
LOG_LIST_MAX = 1024  # streams or sessions in one answer
LOG_WATCHES_MAX = 1_048_576
LOG_RETAIN_EVENTS = 1024  # taken away in one step of retention; streams, sessions and keys looked at: an eighth
LOG_RETAIN_S = 1.0  # between two looks at what has become too old
LOG_FORGET_MS = 7 * 86_400_000  # after which a stream without events that nobody uses is forgotten
LOG_MEMORY_BYTES = 64 * MIB  # of events in a MemoryLog, oldest forgotten
LOG_MEMORY_REPLY_BYTES = 64 * MIB  # of stored replies in a MemoryLog, oldest forgotten
LOG_FILE_BYTES = 8 * 1024 * MIB  # of a file, without its write-ahead log
LOG_FILE_BYTES_MIN = 256 * KIB
LOG_WAL_PAGES = 1000  # in the write-ahead log, above which it is carried over into the file
LOG_WAL_BYTES = 64 * MIB  # above which readers are waited for, to begin it anew
LOG_WAL_WAIT_MS = 200  # how long
LOG_READERS = 2  # threads that read a file
LOG_FOLLOW_S = 0.1  # between two looks of whoever follows a stream from outside
LOG_READS_WAITING = 256  # reads handed to them; more wait
LOG_CACHED = 16_384  # streams, and sessions, that a writer knows without looking
LOG_OPEN_WAIT_MS = 5000  # for another program's hold on the file
LOG_MARKS_BYTES_MAX = 256  # that are read of a lock
