//! Every size, count, time-out and default in one place: unit, reason, source, and what happens at
//! the limit.

/// Longest filter expression, in bytes. Reached: 400. Source: the request line's limit, divided.
pub const FILTER_BYTES_MAX: usize = 8 << 10;
/// Most levels of brackets and `not`, and most comparisons, of a filter. Reached: 400. Bounds the
/// depth of the recursion that parses and evaluates it.
pub const FILTER_DEPTH_MAX: usize = 128;

/// Longest pattern of a `regexp` constraint, in bytes; longer ones never match. Patterns come from
/// job authors and are compiled by the leader.
pub const SCHED_REGEX_PATTERN_BYTES_MAX: usize = 4096;
/// Largest compiled form of such a pattern, in bytes; larger ones never match. Bounds memory and,
/// as matching takes pattern times text, time.
pub const SCHED_REGEX_PROGRAM_BYTES_MAX: usize = 256 * 1024;

/// One second, in nanoseconds.
pub const SECOND: u64 = 1_000_000_000;

// ---- Blocking queries ---------------------------------------------------------------------------

/// How long a blocking query waits when it does not say, in nanoseconds. Source: the API, 5 min.
pub const WAIT_NS_DEFAULT: u64 = 300 * SECOND;
/// Longest wait of a blocking query before jitter, in nanoseconds; more is cut to it. Source: the
/// API's promise of 10 min (the reference cuts at 5).
pub const WAIT_NS_MAX: u64 = 600 * SECOND;
/// A random part of the wait up to one in this many is added. Source: the API.
pub const WAIT_JITTER_DIVISOR: u64 = 16;

// ---- Sending ------------------------------------------------------------------------------------

/// Bodies up to this many bytes are copied behind their head and leave in one write; larger ones
/// are sent from where they are. Source: a copy of 16 KiB costs less than a second part.
pub const OUT_INLINE_MAX: usize = 16 * 1024;
/// Lists of at least this many bytes are kept until what they show changes. Source: below it,
/// putting a list together costs less than its way through the socket.
pub const LONG_LIST_BYTES_MIN: usize = 256 * 1024;
/// A stream pauses while this many bytes wait to be sent to its reader. Source: fault list R06.
pub const OUT_BYTES_MAX: usize = 256 * 1024;
/// A reader that takes no byte for this long is cut off, in nanoseconds. Source: fault list R06.
pub const OUT_STALL_NS: u64 = 60 * SECOND;
/// After a refusal, so many bytes that the peer still sends are thrown away before the connection
/// is closed. Source: fault list H39.
pub const LINGER_BYTES_MAX: usize = 256 * 1024;
/// And for so long at most, in nanoseconds.
pub const LINGER_NS: u64 = SECOND;
/// Bodies below this many bytes are sent as they are, whatever the client accepts.
/// Source: the recorded reference compresses any size, and clients check for it.
pub const GZIP_BYTES_MIN: usize = 1;

// ---- HTTP ---------------------------------------------------------------------------------------

/// Largest request head, in bytes. More → 431 and close. Source: the longest recorded client head
/// is a tenth of it.
pub const HTTP_HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most header fields of a request. More → 431 and close.
pub const HTTP_FIELDS_MAX: usize = 128;
/// Longest request line, in bytes. More → 414 and close.
pub const HTTP_LINE_BYTES_MAX: usize = 16 * 1024;
/// Largest body, in bytes. More → 413 and close, before it is read where its length is announced.
/// The reference has no limit; an entry of the log must stay far below this one.
pub const HTTP_BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most bytes of chunk extensions in one body. More → 400 and close.
pub const HTTP_CHUNK_EXTENSION_BYTES_MAX: usize = 1024;
/// Most bytes of trailers behind one body. More → 431 and close.
pub const HTTP_TRAILER_BYTES_MAX: usize = 8 * 1024;
/// How long a head may take, and a body before its pace counts, in nanoseconds. Longer → 408 and
/// close. Source: fault list R04, R05.
pub const HTTP_HEAD_NS_MAX: u64 = 30 * SECOND;
/// Least pace of a body, in bytes per second, beyond the first half minute.
pub const HTTP_BODY_BYTES_PER_SECOND_MIN: u64 = 240;

/// Longest message of a WebSocket, in bytes. More → it is closed with 1009. Source: the API's
/// clients send pieces of 2 to 32 KiB.
pub const WEBSOCKET_MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Commands that run in tasks of this node at a time for callers of the API. More → 500.
pub const EXECS_MAX: usize = 256;
/// Input for such a command that waits because it reads none, in bytes; nothing more is read from
/// its caller meanwhile.
pub const EXEC_INPUT_BYTES_MAX: usize = 64 * 1024;
/// Longest request that a job's action may become, in bytes: it fits a request line. More → 400.
pub const EXEC_TARGET_BYTES_MAX: usize = 15 * 1024;
/// How long the output of a command at a terminal is waited for after its end, in nanoseconds:
/// what it left in the background may hold the terminal open.
pub const EXEC_TTY_LINGER_NS: u64 = SECOND / 10;

// ---- The loop -----------------------------------------------------------------------------------

/// Events taken from one poll.
pub const EVENTS_PER_POLL: usize = 1024;
/// Bytes read from one connection before the others have their turn.
pub const READ_BYTES: usize = 64 * 1024;
/// Handshakes of clients that go on in a turn, each about a tenth of a millisecond; the rest
/// follows in the next ones, so that a crowd at the door does not hold up who is inside.
pub const TLS_HANDSHAKES_PER_TURN: usize = 64;
/// Connections accepted from one listener in a turn.
pub const ACCEPTS_PER_TURN: usize = 256;
/// Blocking queries answered in a turn; the rest follows in the next ones, so that ten thousand of
/// them cannot delay a heartbeat.
pub const WAKES_PER_TURN: usize = 512;
/// How often a turn that writes looks for more requests before it commits.
pub const GATHER_ROUNDS: usize = 4;
/// How long entries that were applied and that the log on the disk holds wait for a commit of
/// something else, in nanoseconds. A crash before it applies them once more.
pub const HOLD_NS: u64 = 50_000_000;
/// Nanoseconds of a turn after which no further evaluation is begun.
pub const WORK_NS: u64 = 2_000_000;
/// While clients wait for the commit of a turn, evaluations get this part (one in so many) of the
/// time that their requests took, and at least one evaluation runs: scheduling goes on under any
/// load, but a write does not wait for what others' writes caused.
pub const WORK_SHARE: u64 = 4;
/// A turn longer than this is told in the log, in nanoseconds.
pub const LATE_TURN_NS: u64 = SECOND / 2;

// ---- The log ------------------------------------------------------------------------------------

/// Applied entries that stay in the log, for servers that were away. Source: the reference's
/// trailing logs.
pub const LOG_ENTRIES_KEPT: u64 = 10_240;
/// The log is cut by at least this many entries at a time.
pub const LOG_ENTRIES_TRIMMED: u64 = 1024;
/// Bytes of entries that stay for servers that were away: fewer entries where they are large.
pub const LOG_BYTES_KEPT: u64 = 128 << 20;
/// Bytes of entries that stay longer for servers that are there and behind, being sent the state or
/// what follows it. More are not kept for one that takes nothing.
pub const LOG_BYTES_HELD_MAX: u64 = 1 << 30;
/// How long a full disk is left alone before the next try without a new request, in nanoseconds.
pub const FULL_DISK_RETRY_NS: u64 = SECOND;

/// Bytes of an archive that are read at a time: they may inflate to a thousand times as much.
pub const RESTORE_READ_BYTES: usize = 16 * 1024;
/// Bytes of state that a scheduled snapshot takes in a turn, and how long it is until the next
/// ones, in nanoseconds: about 12 MB/s, a quarter of a core.
pub const SNAPSHOT_PIECE_BYTES: usize = 256 * 1024;
pub const SNAPSHOT_PIECE_NS: u64 = SECOND / 50;
/// The same for a snapshot that someone waits for.
pub const SAVE_PIECE_NS: u64 = SECOND / 250;
/// Who may wait for snapshots at a time; they are made one by one. More → 429.
pub const SAVES_MAX: usize = 16;
/// How long nobody looks whether a snapshot is due, in nanoseconds: the clock may be set, and
/// another server may lead.
pub const SNAPSHOT_CHECK_NS: u64 = 30 * SECOND;
/// Entries of the log after which servers compare what their states come to, how many of these
/// sums are remembered, and how often the others are told, in nanoseconds.
pub const DIGEST_ENTRIES: u64 = 64;
pub const DIGESTS_KEPT: usize = 256;
pub const DIGEST_TELL_NS: u64 = SECOND;
/// Bytes of rows that are compared with their sum in a turn, how long it is until the next ones,
/// and until it is done again, in nanoseconds: about 50 MB/s, once in six hours.
pub const SCRUB_PIECE_BYTES: usize = 1 << 20;
pub const SCRUB_PIECE_NS: u64 = SECOND / 50;
pub const SCRUB_PAUSE_NS: u64 = 6 * 3600 * SECOND;
/// Variables that get another key in one step.
pub const VARIABLES_REKEYED_PER_STEP: usize = 64;
/// Evaluations that one request with a filter removes at most; the answer says how many went.
pub const EVALS_DELETED_MAX: usize = 50_000;

// ---- Periodic jobs ------------------------------------------------------------------------------

/// How long the launcher sleeps at most while periodic jobs exist, in nanoseconds: the clock may be
/// set meanwhile. Without periodic jobs it does not wake.
pub const PERIODIC_CHECK_NS: u64 = 30 * SECOND;
/// A launch later than this many seconds is named after the time when it happened, not after the
/// time when it should have. A recorded launch further ahead was written by a wrong clock.
pub const PERIODIC_LATE_S: i64 = 60;
/// A launch that is not in the state after so many seconds is asked for again.
pub const PERIODIC_RETRY_S: i64 = 10;

// ---- Search -------------------------------------------------------------------------------------

/// Rows of one kind that a search looks at; what lies beyond counts as cut off. Bounds the time of
/// a request whose namespace or text fits few rows.
pub const SEARCH_ROWS_MAX: usize = 10_000;

// ---- Keys ---------------------------------------------------------------------------------------

/// Age at which a root key is due for rotation, in nanoseconds. Source: the reference's default of
/// 720 h.
pub const ROOT_KEY_ROTATION_NS: i64 = 720 * 3600 * 1_000_000_000;
/// Identities of the tasks of one allocation that are signed for others than this cluster, each a
/// millisecond of work. Of more none is signed.
pub const IDENTITIES_SIGNED_MAX: usize = 64;
/// Requests for a new root key that wait at a time, each a tenth of a second of work. More → 429.
pub const ROTATIONS_MAX: usize = 8;
/// Public keys may be cached for at least this many seconds.
pub const JWKS_MAX_AGE_MIN_S: i64 = 900;

// ---- Links --------------------------------------------------------------------------------------

/// Largest greeting of a link, in bytes. More → the connection closes. Until the greeting is
/// complete this is all that a stranger can make an agent hold.
pub const LINK_GREETING_BYTES_MAX: usize = 4096;
/// Largest note between agents, and largest opening of a stream, in bytes.
pub const LINK_NOTE_BYTES_MAX: usize = 64 * 1024;
/// Most data of a stream in one frame, in bytes: what a heartbeat may have to wait for.
pub const LINK_DATA_BYTES_MAX: usize = 16 * 1024;
/// Bytes that may be on their way on one stream.
pub const LINK_CREDIT_BYTES: usize = 256 * 1024;
/// Streams of one link. More are reset.
pub const LINK_STREAMS_MAX: usize = 16_384;
/// Messages of consensus that wait for one peer, in bytes. More are dropped; it sends them again.
pub const LINK_RAFT_QUEUE_BYTES_MAX: usize = 16 << 20;
/// Bytes that are handed to the system for one link at a time.
pub const LINK_OUT_BYTES: usize = 64 * 1024;
/// A greeting that takes longer ends the connection, in nanoseconds. Source: the reference's
/// `rpc_handshake_timeout`.
pub const LINK_GREETING_NS_MAX: u64 = 5 * SECOND;
/// A link without a word for so long is asked whether it lives, in nanoseconds.
pub const LINK_PING_NS: u64 = 5 * SECOND;
/// And is given up after so long.
pub const LINK_SILENCE_NS_MAX: u64 = 15 * SECOND;
/// Connections without a greeting, over all listeners. More are closed at once.
pub const LINK_STRANGERS_MAX: usize = 64;
/// Bytes of state that leave for a server which is too far behind, in a second: what its disk and
/// the leader's can do beside their own work. 1 GB takes half a minute. Not slower: pages that a
/// long reading needs cannot be used again, and of a busy store it would be given up.
pub const STATE_BYTES_PER_SECOND: u64 = 32 << 20;
/// And at a time. Source: the credit of a stream, which is so much.
pub const STATE_PIECE_BYTES: usize = LINK_CREDIT_BYTES;
/// Bytes of a state that are staged by one transaction; twice as many wait at most, and one row.
pub const STATE_STAGE_BYTES: usize = 1 << 20;
/// Bytes of a state that nobody needs which one transaction removes, and how long it is until the
/// next one, in nanoseconds.
pub const STATE_SWEEP_BYTES: usize = 2 << 20;
pub const STATE_SWEEP_NS: u64 = SECOND / 50;
/// How long an address of another region may take to be found and to let us in, in nanoseconds.
pub const REGION_CONNECT_NS: u64 = 10 * SECOND;
/// The same where its host has another address to be tried.
pub const REGION_NEXT_NS: u64 = 3 * SECOND;
/// How long another region may take to begin an answer, in nanoseconds; a blocking query adds its
/// own wait.
pub const REGION_ANSWER_NS: u64 = 60 * SECOND;
/// How much longer that may be where a large body goes there first, in nanoseconds.
pub const REGION_UPLOAD_NS: u64 = 600 * SECOND;
/// Requests for other regions at a time; each has a connection. More → 503.
pub const REGION_REQUESTS_MAX: usize = 1024;
/// Agents that a request may pass on its way. More → 500.
pub const RELAY_HOPS_MAX: u8 = 4;
/// A leader that was followed by another one and has been silent for so long, in nanoseconds, does
/// not answer what was passed on to it. Half of the shortest time after which it is followed.
pub const LEADER_SILENCE_NS: u64 = SECOND / 2;
/// How long a request waits for a leader, in nanoseconds, before it is answered that there is
/// none. Source: the reference's `rpc_hold_timeout`.
pub const LEADER_WAIT_NS: u64 = 5 * SECOND;
/// How long a request to join servers waits for them, in nanoseconds.
pub const JOIN_NS_MAX: u64 = 10 * SECOND;
/// Names that are joined are looked up again so often while nobody answers there, and while
/// somebody does, in nanoseconds.
pub const JOIN_AGAIN_NS: u64 = 5 * SECOND;
pub const JOINED_AGAIN_NS: u64 = 60 * SECOND;
/// How often a leader looks after the membership while it is not as it should be, in nanoseconds.
pub const MEMBERS_CHECK_NS: u64 = SECOND / 5;

// ---- HCL ----------------------------------------------------------------------------------------

/// Longest text in HCL, in bytes. Source: the reference discards sources over 1 MB.
pub const HCL_BYTES_MAX: usize = 1 << 20;
/// Blocks and lists within each other in HCL 1: no configuration or policy has more than seven.
pub const HCL_DEPTH_MAX: usize = 64;
/// Objects in objects of an expression in HCL: each level can double the time of a mistake in it.
pub const HCL_OBJECTS_MAX: usize = 12;
/// Objects, lists, indexes and parentheses in each other, for the same reason: at this depth a
/// mistake takes some 40 ms.
pub const HCL_NESTING_MAX: usize = 14;
/// Mistakes told of one text; more would not be read.
pub const HCL_ERRORS_MAX: usize = 10;
/// Steps of one evaluation: a job of a thousand lines takes about ten thousand.
pub const HCL_STEPS_MAX: u64 = 1_000_000;
/// Steps of one evaluation on a server, whose loop waits for it.
pub const HCL_SERVER_STEPS_MAX: u64 = 100_000;
/// Longest job file that a server reads, in bytes, for the same reason; the command line reads
/// [`HCL_BYTES_MAX`]. More → 400.
pub const HCL_SERVER_BYTES_MAX: usize = 256 << 10;
/// Text that the values of one evaluation may hold together, in bytes.
pub const HCL_VALUE_BYTES_MAX: usize = 8 << 20;

// ---- Metrics ------------------------------------------------------------------------------------

/// Jobs whose allocations are counted in metrics, the first by name. Bounds the time of a request:
/// more have to be asked for by the API's lists.
pub const METRICS_JOBS_MAX: usize = 1000;

// ---- The agent's log ----------------------------------------------------------------------------

/// Lines of the log that are kept for those who follow it. Reached: the oldest goes, and who has
/// not seen it is told how many are missing. Source: the API.
pub const MONITOR_LINES_MAX: usize = 512;

/// File systems that the description of the machine tells of.
pub const HOST_MOUNTS_MAX: usize = 64;

// ---- The event stream ---------------------------------------------------------------------------

/// Most bytes of the rows that are kept for the event stream. Reached: the oldest changes go, and
/// readers who have not come to them are cut off.
pub const EVENT_BYTES_MAX: usize = 16 << 20;
/// Events hear `{}` after so long, in nanoseconds. Source: the API.
pub const EVENT_BEAT_NS: u64 = 30 * SECOND;
/// How long changes may wait for each reader of the event stream that is to be told of them: a
/// thousand are told twenty times a second.
pub const EVENT_CROWD_NS: u64 = SECOND / 20_000;
/// While clients wait for commits, a crowd of readers gets this part (one in so many) of the time
/// that their requests took, and all of what nobody wants.
pub const EVENT_SHARE: u64 = 20;
/// Once nobody has written for so long a turn may go to readers for as long, nanoseconds.
pub const EVENT_QUIET_NS: u64 = 2 * SECOND / 1_000;
/// So few readers are told at once.
pub const EVENT_CROWD_LEAST_NS: u64 = SECOND / 1_000;

// ---- Access control -----------------------------------------------------------------------------

/// Shortest and longest time that a token with an end is valid, in nanoseconds, unless the
/// configuration says otherwise. Source: the API.
pub const TOKEN_TTL_MIN_NS: i64 = 60 * 1_000_000_000;
pub const TOKEN_TTL_MAX_NS: i64 = 24 * 3600 * 1_000_000_000;
/// How long a one-time token is valid, in nanoseconds. Source: the API.
pub const ONE_TIME_TOKEN_NS: i64 = 600 * 1_000_000_000;
/// Longest token of an identity provider, in bytes. More → 401.
pub const JWT_BYTES_MAX: usize = 64 << 10;
/// Documents of identity providers that are remembered. More → the oldest is forgotten.
pub const DOCUMENTS_KEPT_MAX: usize = 64;
/// Longest document that is fetched, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 512 << 10;
/// How long fetching a document may take, in nanoseconds.
pub const FETCH_NS_MAX: u64 = 10 * SECOND;
/// Documents that are fetched at a time, and for one request. More → 503.
pub const FETCHES_MAX: usize = 64;
pub const FETCH_ROUNDS_MAX: usize = 8;
/// Keys of one identity provider that are looked at.
pub const JWKS_KEYS_MAX: usize = 50;
/// Rows of a page of what regions share, and the bytes of those that changed.
pub const REPLICA_PAGE_ROWS: usize = 1_000;
pub const REPLICA_PAGE_BYTES: usize = 256 << 10;
/// Rows of its own that a region compares with such a page in one turn. More → it goes on later.
pub const REPLICA_COMPARED_MAX: usize = 4_000;
/// Longest such page that is taken, in bytes. More → it is asked for again later.
pub const REPLICA_ANSWER_MAX: usize = 8 << 20;
/// Holders of tokens, and unions of policies, that are remembered. More → all are found out anew.
pub const ACL_CACHED_MAX: usize = 1024;
/// What a program that makes host volumes may print, in bytes.
pub const PLUGIN_OUTPUT_MAX: u64 = 64 << 10;
/// Largest file that a template is made from, in bytes.
pub const TEMPLATE_FILE_MAX: usize = 512 << 10;
/// Longest body that a node answers the leader with about a host volume, in bytes.
pub const VOLUME_ANSWER_MAX: usize = 1 << 20;

// ---- Names of hosts -----------------------------------------------------------------------------

/// How long an answer of a name server is believed at least and at most, in nanoseconds, whatever
/// it says itself.
pub const DNS_ANSWER_NS_MIN: u64 = SECOND;
pub const DNS_ANSWER_NS_MAX: u64 = 3600 * SECOND;
/// For how long a name is not asked for again that was not found, in nanoseconds.
pub const DNS_FAILED_NS: u64 = 5 * SECOND;
/// How long the files about names are believed before they are read again, in nanoseconds.
pub const DNS_FILES_NS: u64 = SECOND;
/// Most of such a file that is read, in bytes; the rest is passed over.
pub const DNS_FILE_BYTES_MAX: u64 = 1 << 20;
/// Names that are remembered; more, and the one longest of no use is forgotten.
pub const DNS_NAMES_MAX: usize = 512;
/// Questions under way at a time; more wait.
pub const DNS_WORK_MAX: usize = 64;
/// How long a name server may take the first time, in nanoseconds; twice as long each time after.
pub const DNS_TRY_NS: u64 = SECOND;
/// How long an answer about one kind of address waits for that about the other, in nanoseconds.
pub const DNS_OTHER_NS: u64 = SECOND / 4;
/// After so many nanoseconds without an answer what was known before is used meanwhile. Source:
/// RFC 8767, 1.8 s, rounded.
pub const DNS_STALE_NS: u64 = 2 * SECOND;
