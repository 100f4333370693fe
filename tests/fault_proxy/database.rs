//! The server as the test sees it: past the proxy, with a client of its own.

use std::fs::File;
use std::process::Command;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, Row};
use tokio::runtime::Runtime;
use write_buffer::core::dsn::{Dsn, MySqlDsn};

/// The DSN in a variable; `None`, and a line that says so, when there is none of MySQL's.
pub fn dsn_of(variable: &str) -> Option<MySqlDsn> {
    let parsed = std::env::var(variable).ok().map(|text| Dsn::parse(&text));
    match parsed {
        Some(Ok(Dsn::MySql(dsn))) => Some(dsn),
        Some(Err(error)) => panic!("{variable}: {error}"),
        _ => {
            eprintln!("{variable} names no MySQL or MariaDB: not tested (make test does)");
            None
        }
    }
}

/// The DSN as text, with a readable wire, and at `port` of this machine if one is given.
pub fn dsn_text(dsn: &MySqlDsn, port: Option<u16>) -> String {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let (host, own_port) = &dsn.hosts[0];
    let (host, port) = port.map_or((host.as_str(), *own_port), |port| ("127.0.0.1", port));
    format!(
        "mysql://{}:{}@{host}:{port}/{}?ssl-mode=disabled",
        encode(&dsn.user),
        encode(dsn.password.as_deref().unwrap_or_default()),
        encode(&dsn.database)
    )
}

/// A client that connects again when it must.
pub struct Client {
    dsn: MySqlDsn,
    runtime: Runtime,
    connection: Option<MySqlConnection>,
}

impl Client {
    pub fn new(dsn: &MySqlDsn) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        Self {
            dsn: dsn.clone(),
            runtime: runtime.unwrap(),
            connection: None,
        }
    }

    /// The rows of one statement, as text; NULL is empty.
    pub fn try_rows(&mut self, sql: &str) -> Result<Vec<Vec<String>>, sqlx::Error> {
        let (dsn, kept) = (&self.dsn, self.connection.take());
        let run = async {
            let mut connection = match kept {
                Some(connection) => connection,
                None => connect(dsn).await?,
            };
            let statement = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
            let rows = connection.fetch_all(statement).await;
            if !matches!(&rows, Err(error) if error.as_database_error().is_none()) {
                self.connection = Some(connection);
            }
            rows
        };
        let rows = self.runtime.block_on(run)?;
        let cell = |row: &sqlx::mysql::MySqlRow, at| {
            let bytes: Option<Vec<u8>> = row.try_get_unchecked(at).unwrap();
            String::from_utf8(bytes.unwrap_or_default()).unwrap()
        };
        let line = |row| (0..Row::len(row)).map(|at| cell(row, at)).collect();
        Ok(rows.iter().map(line).collect())
    }

    pub fn rows(&mut self, sql: &str) -> Vec<Vec<String>> {
        self.try_rows(sql).unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    /// The first cell of the first row; empty if there is none.
    pub fn cell(&mut self, sql: &str) -> String {
        let first = self.rows(sql).into_iter().flatten().next();
        first.unwrap_or_default()
    }
}

async fn connect(dsn: &MySqlDsn) -> Result<MySqlConnection, sqlx::Error> {
    let (host, port) = &dsn.hosts[0];
    let options = MySqlConnectOptions::new()
        .host(host)
        .port(*port)
        .username(&dsn.user)
        .password(dsn.password.as_deref().unwrap_or_default())
        .database(&dsn.database)
        .ssl_mode(MySqlSslMode::Disabled)
        .timezone(None)
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .disable_statement_logging();
    options.connect().await
}

/// A server that can be stopped, killed and started.
pub struct Control(String);

impl Control {
    /// `None`, and a line that says so, when the server cannot be controlled.
    pub fn of_environment() -> Option<Self> {
        let program = std::env::var("WRITE_BUFFER_TEST_SERVER_CTL").ok();
        if program.is_none() {
            eprintln!("WRITE_BUFFER_TEST_SERVER_CTL is not set: not tested (make test does)");
        }
        program.map(Self)
    }

    pub fn run(&self, action: &str) {
        let status = Command::new(&self.0).arg(action).status().unwrap();
        assert!(status.success(), "{} {action}: {status}", self.0);
    }
}

impl Drop for Control {
    /// Whatever became of the test, the next one finds a server.
    fn drop(&mut self) {
        let _ = Command::new(&self.0).arg("start").status();
    }
}

/// Tests share the server, but for those that stop it or change it for everyone.
pub struct Turn(#[allow(dead_code, reason = "locked until it is dropped")] File);

impl Turn {
    pub fn shared(dsn: &MySqlDsn) -> Self {
        let file = Self::file(dsn);
        file.lock_shared().unwrap();
        Self(file)
    }

    pub fn alone(dsn: &MySqlDsn) -> Self {
        let file = Self::file(dsn);
        file.lock().unwrap();
        Self(file)
    }

    fn file(dsn: &MySqlDsn) -> File {
        let name = format!("write-buffer-fault-proxy-{}.lock", dsn.hosts[0].1);
        File::create(std::env::temp_dir().join(name)).unwrap()
    }
}
