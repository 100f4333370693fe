//! What SQLite's result codes mean for a batch.

use crate::core::failure::{Failure, FailureKind};

/// Messages of the unspecific code 1 by which SQLite says that the schema, not a row, is at
/// fault (`sqlite3_exec` with a wrong name; triggers that name a table that is gone).
const SCHEMA_FAULTS: [&str; 7] = [
    "no such",
    "has no column",
    "syntax error",
    "does not match any PRIMARY KEY or UNIQUE",
    "cannot modify",
    "cannot UPSERT",
    "unknown column",
];

/// The primary part of an extended result code (SQLite, "Result and Error Codes").
const PRIMARY: u32 = 0xff;
const ERROR: u32 = 1;
const PERM: u32 = 3;
const READONLY: u32 = 8;
const IOERR: u32 = 10;
const CORRUPT: u32 = 11;
const CANTOPEN: u32 = 14;
const TOOBIG: u32 = 18;
const CONSTRAINT: u32 = 19;
const MISMATCH: u32 = 20;
const AUTH: u32 = 23;
const RANGE: u32 = 25;
const NOTADB: u32 = 26;
const CONSTRAINT_CHECK: u32 = 275;
const CONSTRAINT_TRIGGER: u32 = 1811;

/// Makes a failure of what happened while `doing` something, which is not COMMIT.
pub(super) fn failure(doing: &str, error: &sqlx::Error) -> Failure {
    let Some((code, text)) = result_code(error) else {
        return Failure::new(kind_without_code(error), format!("{doing}: {error}."));
    };
    let kind = match code & PRIMARY {
        CONSTRAINT | MISMATCH | TOOBIG | RANGE => FailureKind::Refused,
        READONLY | CANTOPEN | PERM | AUTH | NOTADB | CORRUPT => FailureKind::Misconfigured,
        ERROR if SCHEMA_FAULTS.iter().any(|fault| text.contains(fault)) => {
            FailureKind::Misconfigured
        }
        // What else has code 1 is computed from a row by a trigger, a CHECK or a generated
        // column: malformed JSON, integer overflow.
        ERROR => FailureKind::Refused,
        // BUSY, LOCKED, FULL, IOERR, NOMEM, INTERRUPT, SCHEMA and whatever is to come.
        _ => FailureKind::Transient,
    };
    Failure::new(
        kind,
        format!("{doing}: {text} (SQLite code {code}).{}", remedy(code)),
    )
    .with_code(code)
}

/// Makes a failure of a COMMIT.
pub(super) fn commit_failure(error: &sqlx::Error) -> Failure {
    let failure = failure("Cannot commit", error);
    // The file system refused in the middle: the transaction may be in the file or not.
    if failure.code & PRIMARY == IOERR {
        return Failure {
            kind: FailureKind::Lost,
            ..failure
        };
    }
    failure
}

/// Whether a row failed a rule about the whole row, which an UPDATE of the columns given
/// would perhaps have kept.
pub(super) fn is_rule_of_the_whole_row(error: &sqlx::Error) -> bool {
    matches!(
        result_code(error),
        Some((CONSTRAINT_CHECK | CONSTRAINT_TRIGGER, _))
    )
}

fn result_code(error: &sqlx::Error) -> Option<(u32, String)> {
    let sqlx::Error::Database(error) = error else {
        return None;
    };
    let code = error.code()?.parse().ok()?;
    Some((code, error.message().to_owned()))
}

fn kind_without_code(error: &sqlx::Error) -> FailureKind {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::PoolClosed => {
            FailureKind::Lost
        }
        _ => FailureKind::Transient,
    }
}

fn remedy(code: u32) -> &'static str {
    match code & PRIMARY {
        READONLY => " Make the file and its directory writable for this process.",
        CANTOPEN | PERM => {
            " Check the path, and that this process may read and write it and its directory."
        }
        NOTADB => " The path of the DSN is no SQLite database; correct the DSN.",
        CORRUPT => " Restore the database from a backup, or repair it with `.recover`.",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::error::Error as StdError;
    use std::fmt;

    use sqlx::error::{DatabaseError, ErrorKind};

    use super::*;

    #[derive(Debug)]
    struct Fake(u32, &'static str);

    impl fmt::Display for Fake {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.1)
        }
    }

    impl StdError for Fake {}

    impl DatabaseError for Fake {
        fn message(&self) -> &str {
            self.1
        }
        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.to_string().into())
        }
        fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
            self
        }
        fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
            self
        }
        fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
            self
        }
        fn kind(&self) -> ErrorKind {
            ErrorKind::Other
        }
    }

    fn fake(code: u32, text: &'static str) -> sqlx::Error {
        sqlx::Error::Database(Box::new(Fake(code, text)))
    }

    #[test]
    fn every_result_code_has_its_meaning() {
        use FailureKind::{Misconfigured, Refused, Transient};
        for (code, text, kind) in [
            (5, "database is locked", Transient),
            (517, "busy snapshot", Transient),
            (6, "database table is locked", Transient),
            (262, "locked by shared cache", Transient),
            (19, "constraint failed", Refused),
            (1299, "NOT NULL constraint failed: t.a", Refused),
            (3091, "cannot store TEXT value in INTEGER column", Refused),
            (20, "datatype mismatch", Refused),
            (18, "string or blob too big", Refused),
            (25, "column index out of range", Refused),
            (8, "attempt to write a readonly database", Misconfigured),
            (1032, "attempt to write a readonly database", Misconfigured),
            (14, "unable to open database file", Misconfigured),
            (3, "access permission denied", Misconfigured),
            (23, "authorization denied", Misconfigured),
            (26, "file is not a database", Misconfigured),
            (11, "database disk image is malformed", Misconfigured),
            (13, "database or disk is full", Transient),
            (10, "disk I/O error", Transient),
            (778, "disk I/O error", Transient),
            (7, "out of memory", Transient),
            (99, "something new", Transient),
            (1, "no such table: main.audit", Misconfigured),
            (1, "malformed JSON", Refused),
        ] {
            let failure = failure("Cannot write", &fake(code, text));
            assert_eq!((failure.kind, failure.code), (kind, code), "{text}");
            assert!(failure.message.contains(text), "{failure}");
        }
        let crashed = failure("Cannot write", &sqlx::Error::WorkerCrashed);
        assert_eq!(crashed.kind, FailureKind::Lost);
    }

    #[test]
    fn an_io_error_of_commit_leaves_the_outcome_open() {
        assert_eq!(
            commit_failure(&fake(778, "disk I/O error")).kind,
            FailureKind::Lost
        );
        assert_eq!(
            commit_failure(&fake(5, "database is locked")).kind,
            FailureKind::Transient
        );
        assert_eq!(
            commit_failure(&fake(787, "FOREIGN KEY constraint failed")).kind,
            FailureKind::Refused
        );
        assert_eq!(
            commit_failure(&sqlx::Error::WorkerCrashed).kind,
            FailureKind::Lost
        );
    }
}
