//! One connection and what is known of the server behind it.
//!
//! Every result is read to its end: sqlx skips the rest of an unread result wrongly when
//! the server sends OK in place of EOF packets. Statements are plain text, so that several
//! go in one packet.

use futures_util::TryStreamExt;
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Connection, Either, Row};

use super::errors::SqlError;

/// A row as text; `None` is NULL.
pub type TextRow = Vec<Option<String>>;

/// Bytes of a packet that are not rows: command byte, protocol header, and a margin.
pub const PACKET_SLACK: usize = 1024;
/// Bytes of a statement of one row that are not its values twice over: 512 for each of 1,017 columns,
/// as many as InnoDB has ("`InnoDB` Limits" in MySQL's manual), for names, which an upsert with a
/// version has five times, and for what [`store`](super::literal::store) puts around a value.
const STATEMENT_SLACK: usize = 512 * 1017;
/// A bigger packet saves no time any more, but holds memory on both sides.
const PACKET_BYTES_MAX: usize = 4 << 20;
/// What fits one TLS record with the packet's header, where TCP_NODELAY could not be set: sqlx
/// sends each record by itself, and the last one of several would wait for a delayed
/// acknowledgement, 40 ms a packet (measured: 59 ms instead of 19 ms for 1,000 rows).
const TLS_PACKET_BYTES_MAX: usize = 16_000;

/// What the writer adapts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Whether it is MariaDB.
    pub is_mariadb: bool,
    /// Major, minor and patch number.
    pub version: (u32, u32, u32),
    /// Product and version for people.
    pub name: String,
    /// Longest packet the server accepts.
    pub max_allowed_packet: usize,
    /// Whether the connection is encrypted, and may keep back the end of a packet.
    pub is_held_back: bool,
}

impl Server {
    pub(super) fn new(version: &str, max_allowed_packet: usize, is_held_back: bool) -> Self {
        let is_mariadb = version.contains("MariaDB");
        let text = if is_mariadb {
            version.trim_start_matches("5.5.5-")
        } else {
            version
        };
        let number = text.split('-').next().unwrap_or_default();
        let mut parts = number.split('.').map(|p| p.parse().unwrap_or(0));
        let mut part = || parts.next().unwrap_or(0);
        Self {
            is_mariadb,
            version: (part(), part(), part()),
            name: format!("{} {number}", if is_mariadb { "MariaDB" } else { "MySQL" }),
            max_allowed_packet,
            is_held_back,
        }
    }

    /// `INSERT … AS new ON DUPLICATE KEY UPDATE` and `VALUES ROW(…)`: MySQL 8.0.19.
    #[must_use]
    pub fn has_row_aliases(&self) -> bool {
        !self.is_mariadb && self.version >= (8, 0, 19)
    }

    /// Bytes of one statement that the server takes at all.
    #[must_use]
    pub fn statement_bytes_max(&self) -> usize {
        self.max_allowed_packet.saturating_sub(PACKET_SLACK)
    }

    /// Bytes of a row in the log whose statement the server takes in any case: text of n bytes may
    /// take 2n as hexadecimal. Where packets are too small to hold many columns as well, it leaves
    /// them a quarter; a statement that is longer yet is refused when it is made.
    #[must_use]
    pub fn row_bytes_max(&self) -> usize {
        let statement = self.statement_bytes_max();
        (statement - STATEMENT_SLACK.min(statement / 4)) / 2
    }

    /// Bytes of statements that are sent together.
    #[must_use]
    pub fn packet_bytes(&self) -> usize {
        let best = if self.is_held_back {
            TLS_PACKET_BYTES_MAX
        } else {
            PACKET_BYTES_MAX
        };
        best.min(self.statement_bytes_max())
    }
}

/// A connection.
#[derive(Debug)]
pub struct Link {
    connection: MySqlConnection,
    /// Whom it leads to.
    pub server: Server,
    /// Whether no transaction is left open on it; if not, it may not be used again.
    pub is_certain: bool,
}

impl Link {
    pub(super) fn new(connection: MySqlConnection) -> Self {
        Self {
            connection,
            server: Server::new("", 0, false),
            is_certain: true,
        }
    }

    /// Runs statements of one packet. Returns what those that succeeded affected, in
    /// order, and the error that ended the packet, if one did.
    pub async fn run(&mut self, sql: String) -> (Vec<u64>, Option<SqlError>) {
        let mut counts = Vec::new();
        let mut results = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_many(&mut self.connection);
        loop {
            match results.try_next().await {
                Ok(Some(Either::Left(done))) => counts.push(done.rows_affected()),
                Ok(Some(Either::Right(_))) => {}
                Ok(None) => return (counts, None),
                Err(error) => return (counts, Some(SqlError::from_sqlx(&error))),
            }
        }
    }

    /// Runs statements that must all succeed.
    ///
    /// # Errors
    /// The first error.
    pub async fn execute(&mut self, sql: &str) -> Result<Vec<u64>, SqlError> {
        let (counts, error) = self.run(sql.to_owned()).await;
        error.map_or(Ok(counts), Err)
    }

    /// Runs queries and returns all their rows, one result after the other.
    ///
    /// # Errors
    /// The first error.
    pub async fn rows(&mut self, sql: &str) -> Result<Vec<TextRow>, SqlError> {
        let (rows, error) = self.query(sql).await;
        error.map_or(Ok(rows), Err)
    }

    /// Runs queries. Returns the rows of those that succeeded, one result after the other,
    /// and the error that ended the packet, if one did.
    pub async fn query(&mut self, sql: &str) -> (Vec<TextRow>, Option<SqlError>) {
        let mut rows = Vec::new();
        let mut results =
            sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_many(&mut self.connection);
        loop {
            let row = match results.try_next().await {
                Ok(Some(Either::Right(row))) => row,
                Ok(Some(Either::Left(_))) => continue,
                Ok(None) => return (rows, None),
                Err(error) => return (rows, Some(SqlError::from_sqlx(&error))),
            };
            let cell = |at| {
                let bytes: Option<Vec<u8>> = row.try_get_unchecked(at)?;
                Ok(bytes.map(|b| String::from_utf8_lossy(&b).into_owned()))
            };
            match (0..row.len()).map(cell).collect() {
                Ok(cells) => rows.push(cells),
                Err(error) => return (rows, Some(SqlError::from_sqlx(&error))),
            }
        }
    }

    /// Says good-bye to the server.
    pub async fn quit(self) {
        // The server ends the session either way.
        let _ = self.connection.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_leaves_room_for_columns_of_any_number() {
        for (packet, columns) in [(64 << 20, 1017), (4 << 20, 1017), (1 << 20, 500), (1024, 0)] {
            let server = Server::new("9.7.4", packet, false);
            let longest = 2 * server.row_bytes_max() + 512 * columns;
            assert!(longest <= server.statement_bytes_max(), "{packet}");
            assert!(longest * 2 >= server.statement_bytes_max(), "{packet}");
        }
    }

    #[test]
    fn products_and_versions_are_told_apart() {
        for (text, is_mariadb, version, aliases) in [
            ("9.7.4-2", false, (9, 7, 4), true),
            ("8.0.18", false, (8, 0, 18), false),
            ("10.11.14-MariaDB-0+deb12u2", true, (10, 11, 14), false),
            ("5.5.5-10.6.21-MariaDB", true, (10, 6, 21), false),
            ("11.8.3-MariaDB-log", true, (11, 8, 3), false),
        ] {
            let server = Server::new(text, 1 << 20, false);
            assert_eq!(
                (server.is_mariadb, server.version, server.has_row_aliases()),
                (is_mariadb, version, aliases),
                "{text}"
            );
        }
    }
}
