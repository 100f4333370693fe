//! What a server's error means for the batch it struck.
//!
//! The rule behind the table: a row is only given up (`Refused`) when the server says that
//! its *data* is at fault, and only a fault that a person must mend stops everything
//! (`Misconfigured`). A number that is not known is judged by the class of its SQLSTATE,
//! and when that says nothing either, it is `Transient`: a retry costs time, quarantine
//! for a wrong reason costs a row. Whatever leaves the state of the connection or the
//! outcome of a COMMIT open is `Lost`, because then the checkpoint is read, not guessed.

use crate::core::failure::{Failure, FailureKind};

/// An error packet of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    /// Error number.
    pub code: u16,
    /// SQLSTATE; empty when the server sent none.
    pub state: String,
    /// Message text.
    pub message: String,
}

/// Why a statement gave no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqlError {
    /// The server answered with an error.
    Server(ServerError),
    /// The connection is of no more use.
    Gone(String),
}

/// The unique key was violated.
pub const DUPLICATE_KEY: [u16; 4] = [1062, 1022, 1169, 1586];
/// Table, column or index is not there: the schema changed, or never was as declared.
pub const SCHEMA_CHANGED: [u16; 8] = [1054, 1072, 1136, 1146, 1176, 1412, 1932, 1109];
/// The server takes no writes now; another host may.
pub const READ_ONLY: [u16; 5] = [1290, 1836, 1792, 3100, 1047];

/// What a server's error means.
#[must_use]
pub fn classify(code: u16, state: &str) -> FailureKind {
    use FailureKind::{Lost, Misconfigured, Refused, Transient};
    match code {
        // Deadlocks, lock waits, and what Galera and group replication make of them.
        1205 | 1206 | 1213 | 1614 | 3058 | 3101 | 3572 => Transient,
        // Not now: read-only, not primary, not part of the cluster.
        1290 | 1792 | 1836 | 1047 | 3100 => Transient,
        // Overload: connections, memory, disk, table space, temporary failures.
        1040 | 1203 | 1226 | 1297 | 1037 | 1038 | 1041 | 1114 | 1021 | 1030 | 1026 | 28 => {
            Transient
        }
        // The statement was killed or timed out; the connection lives.
        1317 | 3024 | 1969 | 1028 | 3168 => Transient,
        // An error while committing says nothing sure about the outcome.
        1180 => Lost,
        // Shutdown, kill, broken wire, idle disconnect; client numbers that proxies pass on.
        1053
        | 1077
        | 1079
        | 1080
        | 1927
        | 1152
        | 1154..=1161
        | 4031
        | 3169
        | 2006
        | 2013
        | 2055 => Lost,
        // Credentials, privileges, database, unusable schema or session.
        1044 | 1045 | 1049 | 1698 | 1820 | 1862 | 3118 | 3955 | 1251 | 1130 | 2054 | 2061 => {
            Misconfigured
        }
        1142 | 1143 | 1227 | 1370 | 1419 | 1449 | 1410 | 1445 | 1665 | 1785 | 1671 => Misconfigured,
        1054 | 1072 | 1146 | 1176 | 1136 | 1109 | 1932 | 1193 | 1231 | 1232 | 1238 | 1286 => {
            Misconfigured
        }
        1467 | 1100 | 1099 | 1036 | 1288 | 1347 | 1356 | 1471 => Misconfigured,
        // Data: null, duplicate, range, length, type, foreign key, check, trigger, character set
        // (a key in characters that its column lacks is an illegal mix of collations).
        1048 | 1062 | 1022 | 1169 | 1586 | 1364 | 1263 | 1264 | 1265 | 1366 | 1367 | 1292
        | 1406 => Refused,
        1451 | 1452 | 1216 | 1217 | 1690 | 1365 | 1411 | 1416 | 1300 | 1525 | 1526 | 1644
        | 1762 => Refused,
        1267
        | 1270
        | 1271
        | 3854
        | 3988
        | 3819
        | 3140..=3158
        | 3105
        | 1906
        | 1139
        | 1118
        | 1153
        | 1301
        | 1104
        | 1230
        | 1369 => Refused,
        // MariaDB's check constraint; MySQL gives the number to something else.
        4025 if state.starts_with("23") => Refused,
        _ => match state.get(..2) {
            Some("40") => Transient,
            Some("08") => Lost,
            Some("28") => Misconfigured,
            Some("21" | "22" | "23" | "44" | "45") => Refused,
            _ => Transient,
        },
    }
}

/// Whether an error reply to COMMIT means that the transaction was rolled back for sure.
#[must_use]
pub fn commit_was_rolled_back(error: &ServerError) -> bool {
    matches!(error.code, 1213 | 3101) || error.state.starts_with("40")
}

impl SqlError {
    /// What it means.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Server(e) => classify(e.code, &e.state),
            Self::Gone(_) => FailureKind::Lost,
        }
    }

    /// The server's number; 0 if it gave none.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Self::Server(e) => e.code,
            Self::Gone(_) => 0,
        }
    }

    /// A failure that says what was being done.
    #[must_use]
    pub fn while_doing(&self, action: &str) -> Failure {
        let message = match self {
            Self::Server(e) => format!(
                "{action}: {} (error {}).{}",
                e.message.trim_end_matches('.'),
                e.code,
                remedy(e.code)
            ),
            Self::Gone(what) => {
                format!("{action}: the connection to the database is lost: {what}.")
            }
        };
        Failure::new(self.kind(), message).with_code(u32::from(self.code()))
    }

    pub(super) fn from_sqlx(error: &sqlx::Error) -> Self {
        let server = error
            .as_database_error()
            .and_then(|e| e.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>());
        match server {
            Some(e) => Self::Server(ServerError {
                code: e.number(),
                state: e.code().unwrap_or_default().to_owned(),
                message: e.message().to_owned(),
            }),
            None => Self::Gone(error.to_string()),
        }
    }
}

fn remedy(code: u16) -> &'static str {
    match code {
        1142 | 1143 | 1044 | 1227 | 1370 => {
            " Grant the DSN's user SELECT, INSERT, UPDATE and DELETE."
        }
        1045 | 1698 => " Check user and password in the DSN.",
        1049 => " Create the database or correct the DSN.",
        1290 | 1836 | 1792 => " The server takes no writes at the moment.",
        1665 => {
            " Set binlog_format to ROW or MIXED, or the isolation level to REPEATABLE READ in the option 'session'."
        }
        1153 => " Raise max_allowed_packet or make the row smaller.",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers_mean_what_the_contract_says() {
        use FailureKind::{Lost, Misconfigured, Refused, Transient};
        for (kind, codes) in [
            (
                Transient,
                &[
                    1213, 1205, 1206, 1614, 1047, 1290, 1836, 1792, 1040, 1203, 1317, 3024, 1114,
                    1021, 1030, 28,
                ][..],
            ),
            (
                Lost,
                &[1053, 2006, 2013, 1158, 1159, 1160, 1161, 1927, 4031, 1180],
            ),
            (
                Misconfigured,
                &[
                    1045, 1044, 1698, 1049, 1142, 1143, 1227, 1370, 1419, 1146, 1054,
                ],
            ),
            (
                Refused,
                &[
                    1048, 1062, 1264, 1265, 1292, 1366, 1364, 1406, 1451, 1452, 1690, 3819, 1300,
                    1411, 1416, 3140, 1644, 1153, 1104,
                ],
            ),
        ] {
            for code in codes {
                assert_eq!(classify(*code, "HY000"), kind, "{code}");
            }
        }
    }

    #[test]
    fn an_unknown_number_is_judged_by_its_class_and_never_costs_a_row_by_itself() {
        use FailureKind::{Lost, Misconfigured, Refused, Transient};
        for (state, kind) in [
            ("22007", Refused),
            ("23000", Refused),
            ("45000", Refused),
            ("40001", Transient),
            ("08S01", Lost),
            ("28000", Misconfigured),
            ("HY000", Transient),
            ("42000", Transient),
            ("", Transient),
        ] {
            assert_eq!(classify(64_999, state), kind, "{state}");
        }
        assert_eq!(classify(4025, "23000"), Refused);
        assert_eq!(classify(4025, "HY000"), Transient);
    }

    #[test]
    fn only_a_sure_rollback_of_a_commit_is_no_unknown_outcome() {
        let error = |code, state: &str| ServerError {
            code,
            state: state.to_owned(),
            message: String::new(),
        };
        assert!(commit_was_rolled_back(&error(1213, "40001")));
        assert!(commit_was_rolled_back(&error(3101, "40000")));
        assert!(!commit_was_rolled_back(&error(1180, "HY000")));
        assert!(!commit_was_rolled_back(&error(1205, "HY000")));
    }
}
