//! Every option with its bounds, default and reason.

/// What an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// A whole number within bounds.
    Int {
        /// Smallest value.
        min: i64,
        /// Largest value.
        max: i64,
        /// Used when none is given.
        default: i64,
    },
    /// One of some words.
    Word {
        /// The words.
        words: &'static [&'static str],
        /// Used when none is given.
        default: &'static str,
    },
    /// Any text; empty is none.
    Text,
    /// An array.
    Map,
    /// A PHP callable, which the PHP layer keeps: nothing else can call it.
    Callable,
}

/// One option.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    /// Its name; also of the INI setting behind `write_buffer.`.
    pub name: &'static str,
    /// What it takes.
    pub takes: Takes,
    /// Whether an INI setting of the same name gives a process-wide default.
    pub ini: bool,
    /// Environment variable that gives a default, before INI.
    pub env: Option<&'static str>,
    /// What it does and why its default is what it is.
    pub meaning: &'static str,
}

const fn int(
    name: &'static str,
    min: i64,
    max: i64,
    default: i64,
    meaning: &'static str,
) -> OptionSpec {
    OptionSpec {
        name,
        takes: Takes::Int { min, max, default },
        ini: true,
        env: None,
        meaning,
    }
}

const DAY_MS: i64 = 86_400_000;

/// Every option.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "dsn",
        takes: Takes::Text,
        ini: false,
        env: Some("WRITE_BUFFER_DSN"),
        meaning: "where rows are written; never in INI because it holds credentials",
    },
    OptionSpec {
        name: "tables",
        takes: Takes::Map,
        ini: false,
        env: None,
        meaning: "table declarations, merged over orders, trades and balances",
    },
    OptionSpec {
        env: Some("WRITE_BUFFER_MAX_SIZE"),
        ..int(
            "max_buffer_size",
            1,
            10_000_000,
            100,
            "merged rows that start a write",
        )
    },
    OptionSpec {
        env: Some("WRITE_BUFFER_FLUSH_INTERVAL_MS"),
        ..int(
            "flush_interval_ms",
            1,
            DAY_MS,
            500,
            "age in ms of the oldest row that starts a write",
        )
    },
    OptionSpec {
        env: Some("WRITE_BUFFER_MAX_RETRIES"),
        ..int(
            "max_retries",
            0,
            1_000,
            3,
            "attempts after the first before a failure is reported; rows stay pending",
        )
    },
    OptionSpec {
        name: "journal",
        takes: Takes::Word {
            words: &["off", "process", "interval", "always"],
            default: "off",
        },
        ini: true,
        env: Some("WRITE_BUFFER_JOURNAL"),
        meaning: "what an accepted row survives",
    },
    OptionSpec {
        name: "journal_dir",
        takes: Takes::Text,
        ini: true,
        env: None,
        meaning: "directory of journals, quarantine and spilled rows, made 0700",
    },
    int(
        "journal_sync_ms",
        1,
        60_000,
        100,
        "sync period in ms of journal=interval",
    ),
    int(
        "journal_max_bytes",
        16 << 20,
        1 << 50,
        4 << 30,
        "bound on a journal's bytes on disk",
    ),
    OptionSpec {
        name: "name",
        takes: Takes::Text,
        ini: true,
        env: None,
        meaning: "whose journals this buffer adopts; open() sets it",
    },
    int(
        "max_pending_rows",
        1,
        1_000_000_000,
        1_000_000,
        "rows accepted and not yet committed, those in flight included",
    ),
    int(
        "max_pending_bytes",
        64 << 10,
        1 << 40,
        256 << 20,
        "bytes of those rows",
    ),
    OptionSpec {
        name: "on_full",
        takes: Takes::Word {
            words: &["block", "throw"],
            default: "block",
        },
        ini: true,
        env: None,
        meaning: "what add does at a bound",
    },
    int(
        "block_timeout_ms",
        0,
        DAY_MS,
        5_000,
        "how long add waits at a bound before BufferFullException",
    ),
    int(
        "flush_timeout_ms",
        0,
        DAY_MS,
        10_000,
        "how long flush waits by default",
    ),
    int(
        "drain_timeout_ms",
        0,
        DAY_MS,
        10_000,
        "how long close and the end of the process wait",
    ),
    int(
        "connect_timeout_ms",
        1,
        DAY_MS,
        10_000,
        "how long one attempt to connect may take",
    ),
    int(
        "write_timeout_ms",
        1,
        DAY_MS,
        60_000,
        "how long one transaction, or one look at what became of it, may take before the connection counts as lost",
    ),
    int(
        "retry_base_ms",
        1,
        DAY_MS,
        10,
        "first back-off; doubles with each attempt, with jitter",
    ),
    int("retry_max_ms", 1, DAY_MS, 5_000, "longest back-off"),
    OptionSpec {
        name: "on_error",
        takes: Takes::Word {
            words: &["quarantine", "halt"],
            default: "quarantine",
        },
        ini: true,
        env: None,
        meaning: "what happens to a group that the database refuses for good",
    },
    OptionSpec {
        name: "on_quarantine",
        takes: Takes::Callable,
        ini: false,
        env: None,
        meaning: "called with each group that went to quarantine, by flush, close, waitFor and dispatch",
    },
    OptionSpec {
        name: "session",
        takes: Takes::Map,
        ini: false,
        env: None,
        meaning: "session variables set on connect",
    },
];
