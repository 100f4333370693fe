//! Opening a connection: the address that worked last first, then the others.

use std::io;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};

use super::errors::SqlError;
use super::link::{Link, Server};
use super::literal::push_text;
use super::{nodelay, predecessor};
use crate::core::config::Setting;
use crate::core::dsn::MySqlDsn;
use crate::core::failure::{Failure, FailureKind};
use crate::core::table::is_identifier;
use crate::sink::Writer;

/// Where a server can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket.
    Socket(String),
    /// Host and port.
    Host(String, u16),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => f.write_str(path),
            Self::Host(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

/// The addresses of a DSN, in the order of preference.
#[must_use]
pub fn addresses(dsn: &MySqlDsn) -> Vec<Address> {
    let hosts = dsn
        .hosts
        .iter()
        .map(|(host, port)| Address::Host(host.clone(), *port));
    dsn.socket
        .iter()
        .cloned()
        .map(Address::Socket)
        .chain(hosts)
        .collect()
}

/// Connects to one address, sets the session up and ends the writer's old one.
///
/// # Errors
/// `Lost` when nobody answers, `Misconfigured` when a person must act.
pub async fn open(
    dsn: &MySqlDsn,
    session: &[(String, Setting)],
    address: &Address,
    writer: &Writer,
    timeout: Duration,
) -> Result<Link, Failure> {
    let options = options(dsn, address);
    let connection = match tokio::time::timeout(timeout, options.connect()).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return Err(unreachable(&error, address)),
        Err(_) => {
            let ms = timeout.as_millis();
            let message = format!(
                "The database at {address} did not answer within {ms} ms (connect_timeout_ms); is it running, and is the address right?"
            );
            return Err(Failure::new(FailureKind::Lost, message));
        }
    };
    let mut link = Link::new(connection);
    let sends_at_once = match address {
        Address::Socket(_) => true,
        Address::Host(_, port) => nodelay::set(*port),
    };
    let set_up = set_up(&mut link, session, writer, timeout, sends_at_once);
    match tokio::time::timeout(timeout, set_up).await {
        Ok(done) => done.map(|()| link),
        Err(_) => Err(silent(address)),
    }
}

/// The failure of a server that accepted the connection and then said no more.
#[must_use]
pub fn silent(address: &Address) -> Failure {
    let message = format!(
        "The database at {address} did not answer while the session was set up (connect_timeout_ms)."
    );
    Failure::new(FailureKind::Lost, message)
}

/// How to connect to one of a DSN's addresses; the session is left as the server has it.
#[must_use]
pub fn options(dsn: &MySqlDsn, address: &Address) -> MySqlConnectOptions {
    let mut options = MySqlConnectOptions::new()
        .username(&dsn.user)
        .database(&dsn.database)
        // The session is set up afterwards, with what the server and the user want.
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .timezone(None)
        .set_names(false)
        .statement_cache_capacity(0)
        // Statements hold rows; they are nobody's log.
        .disable_statement_logging();
    options = match address {
        Address::Socket(path) => options.socket(path),
        Address::Host(host, port) => options.host(host).port(*port),
    };
    if let Some(password) = &dsn.password {
        options = options.password(password);
    }
    if let Some(path) = &dsn.ssl_ca {
        options = options.ssl_ca(path);
    }
    if let Some(path) = &dsn.ssl_cert {
        options = options.ssl_client_cert(path);
    }
    if let Some(path) = &dsn.ssl_key {
        options = options.ssl_client_key(path);
    }
    let mode = match dsn.ssl_mode.as_deref() {
        Some("disabled") => MySqlSslMode::Disabled,
        Some("required") => MySqlSslMode::Required,
        Some("verify_ca") => MySqlSslMode::VerifyCa,
        Some("verify_identity") => MySqlSslMode::VerifyIdentity,
        // A socket needs no encryption, and sqlx would ask for it there, too.
        _ if matches!(address, Address::Socket(_)) => MySqlSslMode::Disabled,
        _ => MySqlSslMode::Preferred,
    };
    options.ssl_mode(mode)
}

fn unreachable(error: &sqlx::Error, address: &Address) -> Failure {
    match error {
        sqlx::Error::Database(_) => SqlError::from_sqlx(error)
            .while_doing(&format!("The database at {address} refuses the connection")),
        sqlx::Error::Io(e) => {
            let (kind, remedy) = if is_unknown_host(e) {
                (
                    FailureKind::Misconfigured,
                    "correct the host name in the DSN",
                )
            } else {
                (
                    FailureKind::Lost,
                    "is it running, and is the address in the DSN right?",
                )
            };
            Failure::new(
                kind,
                format!("The database at {address} cannot be reached: {e}; {remedy}"),
            )
        }
        sqlx::Error::Tls(e) => {
            let message = format!(
                "No encrypted connection to the database at {address}: {e}; see ssl-mode and ssl-ca in the DSN."
            );
            Failure::new(FailureKind::Lost, message)
        }
        sqlx::Error::Configuration(e) => Failure::new(
            FailureKind::Misconfigured,
            format!("The DSN's options for the database at {address} cannot be used: {e}."),
        ),
        other => Failure::new(
            FailureKind::Lost,
            format!("The database at {address} cannot be talked to: {other}."),
        ),
    }
}

/// Whether a name server says that there is no such host. "Temporary failure" is not that.
fn is_unknown_host(error: &io::Error) -> bool {
    let text = error.to_string();
    text.contains("failed to lookup address information") && !text.contains("emporary failure")
}

const ISOLATION_LEVELS: [&str; 4] = [
    "READ UNCOMMITTED",
    "READ COMMITTED",
    "REPEATABLE READ",
    "SERIALIZABLE",
];

/// The statements of the session, each with the variable it sets.
fn session_statements(session: &[(String, Setting)]) -> Result<Vec<(String, String)>, Failure> {
    let mut statements = Vec::new();
    let mut add = |what: &str, sql: String| statements.push((what.to_owned(), sql));
    add("names", "SET NAMES utf8mb4".to_owned());
    // Without strict mode, what is too long is cut with a warning: rows lost silently.
    add(
        "sql_mode",
        "SET SESSION sql_mode = IF(FIND_IN_SET('STRICT_TRANS_TABLES', @@sql_mode), @@sql_mode, \
         CONCAT_WS(',', NULLIF(@@sql_mode, ''), 'STRICT_TRANS_TABLES'))"
            .to_owned(),
    );
    // Each row is named by its key, so gap locks protect nothing here and cost deadlocks.
    add(
        "isolation",
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED".to_owned(),
    );
    for (name, value) in session {
        let refused = |why: &str| {
            let message = format!("The session variable {name:?} of the option 'session' {why}.");
            Err(Failure::new(FailureKind::Misconfigured, message))
        };
        if !is_identifier(name.as_bytes()) {
            return refused("has a name that is none");
        }
        if matches!(
            name.to_ascii_lowercase().as_str(),
            "transaction_isolation" | "tx_isolation"
        ) {
            // Each server knows one of the two names; all know the statement.
            let Setting::Text(text) = value else {
                return refused("is no text");
            };
            let level = text.to_ascii_uppercase().replace('-', " ");
            if !ISOLATION_LEVELS.contains(&level.as_str()) {
                return refused("is no isolation level");
            }
            add(
                name,
                format!("SET SESSION TRANSACTION ISOLATION LEVEL {level}"),
            );
            continue;
        }
        let mut sql = format!("SET SESSION {name} = ");
        match value {
            Setting::Null => sql.push_str("DEFAULT"),
            Setting::Bool(b) => sql.push_str(if *b { "1" } else { "0" }),
            Setting::Int(n) => sql.push_str(&n.to_string()),
            Setting::Text(text) => match text.parse::<i64>() {
                Ok(n) => sql.push_str(&n.to_string()),
                Err(_) => {
                    push_text(text.as_bytes(), &mut sql);
                }
            },
            _ => return refused("is no text, number or bool"),
        }
        add(name, sql);
    }
    // What this writer's statements rely on, whatever the server's defaults are.
    add("autocommit", "SET SESSION autocommit = 1".to_owned());
    add(
        "completion_type",
        "SET SESSION completion_type = 0".to_owned(),
    );
    add(
        "sql_safe_updates",
        "SET SESSION sql_safe_updates = 0".to_owned(),
    );
    add(
        "sql_big_selects",
        "SET SESSION sql_big_selects = 1".to_owned(),
    );
    Ok(statements)
}

async fn set_up(
    link: &mut Link,
    session: &[(String, Setting)],
    writer: &Writer,
    timeout: Duration,
    sends_at_once: bool,
) -> Result<(), Failure> {
    let statements = session_statements(session)?;
    let packet = statements
        .iter()
        .map(|(_, sql)| sql.as_str())
        .collect::<Vec<_>>()
        .join(";");
    let (done, error) = link.run(packet).await;
    if let Some(error) = error {
        let what = statements.get(done.len()).map_or("", |(what, _)| what);
        return Err(error.while_doing(&format!("Could not set the session variable {what:?}")));
    }
    let ask = "SELECT VERSION(), @@max_allowed_packet; SHOW SESSION STATUS LIKE 'Ssl_cipher'";
    let lock = predecessor::take_lock(writer);
    let (facts, error) = link.query(&format!("{ask}; {lock}")).await;
    // Without the lock goes as well.
    let lacks_lock = facts.len() == 2 && matches!(error, Some(SqlError::Server(_)));
    if let Some(error) = error.filter(|_| !lacks_lock) {
        return Err(error.while_doing("Could not ask the server for its version"));
    }
    let fact = |row: usize, at: usize| {
        facts
            .get(row)
            .and_then(|r| r.get(at)?.as_deref())
            .unwrap_or_default()
    };
    let is_encrypted = !fact(1, 1).is_empty();
    link.server = Server::new(
        fact(0, 0),
        fact(0, 1).parse().unwrap_or(1 << 20),
        is_encrypted && !sends_at_once,
    );
    if fact(2, 0) == "0" {
        predecessor::end(link, writer, timeout).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statements(name: &str, value: Setting) -> Result<Vec<String>, String> {
        let session = [(name.to_owned(), value)];
        let found = session_statements(&session).map_err(|e| e.message)?;
        Ok(found
            .into_iter()
            .filter(|(what, _)| what == name)
            .map(|(_, sql)| sql)
            .collect())
    }

    #[test]
    fn session_variables_are_names_and_literals_only() {
        let text = |t: &str| Setting::Text(t.to_owned());
        assert_eq!(
            statements("time_zone", text("+02:00")).unwrap(),
            ["SET SESSION time_zone = '+02:00'"]
        );
        assert_eq!(
            statements("x", text("a'b")).unwrap(),
            ["SET SESSION x = _utf8mb4 X'612762'"]
        );
        assert_eq!(
            statements("innodb_lock_wait_timeout", text("5")).unwrap(),
            ["SET SESSION innodb_lock_wait_timeout = 5"]
        );
        let level = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ";
        assert_eq!(
            statements("tx_isolation", text("repeatable-read")).unwrap(),
            [level]
        );
        assert!(statements("transaction_isolation", text("x; DROP")).is_err());
        assert!(statements("a b", text("1")).is_err());
    }

    #[test]
    fn the_socket_goes_before_the_hosts() {
        let Ok(crate::core::dsn::Dsn::MySql(dsn)) =
            crate::core::dsn::Dsn::parse("mysql://u:p@a,b:1/d?socket=/s")
        else {
            panic!()
        };
        let shown: Vec<_> = addresses(&dsn).iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["/s", "a:3306", "b:1"]);
    }
}
