//! What can go wrong between a batch and the database, by what must be done about it.

use super::Sequence;

/// What a failure means for the batch it struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The server rolled the whole transaction back and it may succeed if repeated:
    /// deadlock, lock wait timeout, read-only server.
    Transient,
    /// The connection is gone or was never made. Whether a COMMIT happened is not known.
    Lost,
    /// The database refuses a row of the batch for good; everything was rolled back.
    Refused,
    /// A row does not fit the schema: a column, or a table named by the row's own data, does
    /// not exist. Handled as [`FailureKind::Refused`], and told to the next caller, whose
    /// code probably gives the same.
    Unfit,
    /// Nothing can be written until a person changes something: credentials, database,
    /// a table, a key. Everything was rolled back.
    Misconfigured,
    /// Another writer moved this writer's checkpoint: this one must never write again.
    Fenced,
}

/// A failure with what a person needs to know of it. Never holds a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What it means for the batch.
    pub kind: FailureKind,
    /// The server's error number (MySQL, MariaDB) or extended result code (SQLite); 0 if none.
    pub code: u32,
    /// Fact, value and remedy in one sentence or two.
    pub message: String,
    /// The declared table that is to blame, where one is.
    pub table: Option<String>,
}

impl FailureKind {
    /// Whether the rows themselves are to blame, so that writing them again is of no use.
    #[must_use]
    pub fn is_refusal(self) -> bool {
        matches!(self, Self::Refused | Self::Unfit)
    }
}

impl Failure {
    /// A failure of `kind` that no server gave a number to.
    #[must_use]
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: 0,
            message: message.into(),
            table: None,
        }
    }

    /// The same failure with the server's number.
    #[must_use]
    pub fn with_code(mut self, code: u32) -> Self {
        self.code = code;
        self
    }

    /// The same failure with the declared table it is about.
    #[must_use]
    pub fn of_table(mut self, table: impl Into<String>) -> Self {
        self.table = Some(table.into());
        self
    }
}

/// An atomic group that went to quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedGroup {
    /// The group's first row.
    pub first: Sequence,
    /// The group's last row.
    pub last: Sequence,
    /// Why it was refused, or which rows it stands behind.
    pub reason: String,
    /// Whether it was not refused, but stands behind one that was.
    pub is_follower: bool,
    /// The group as it is stored.
    pub line: String,
}
