//! A sink on a real server, and rows on their way.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::common::BatchBuilder;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, Row};
use write_buffer::core::Sequence;
use write_buffer::core::config::Setting;
use write_buffer::core::dsn::{Dsn, MySqlDsn};
use write_buffer::core::failure::Failure;
use write_buffer::core::table::{TableSpec, Template};
use write_buffer::core::value::Value;
use write_buffer::sink::mysql::MySqlSink;
use write_buffer::sink::{CheckpointMove, Connected, Sink, Writer};

pub const TIMEOUT: Duration = Duration::from_secs(10);

pub fn dsn_of(variable: &str) -> Option<MySqlDsn> {
    match Dsn::parse(&std::env::var(variable).ok()?) {
        Ok(Dsn::MySql(dsn)) => Some(dsn),
        other => panic!("{variable} is no MySQL DSN: {other:?}"),
    }
}

/// Runs a test beside the server, if there is one.
pub fn with_server(test: impl AsyncFnOnce(MySqlDsn)) {
    let Some(dsn) = dsn_of("WRITE_BUFFER_TEST_DSN") else {
        eprintln!("WRITE_BUFFER_TEST_DSN is not set: not tested against MySQL (make test does)");
        return;
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(test(dsn));
}

/// A name that no other test has, in this run or in one before.
pub fn unique(base: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "{base}_{}_{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

pub async fn client(dsn: &MySqlDsn) -> MySqlConnection {
    let (host, port) = &dsn.hosts[0];
    let options = MySqlConnectOptions::new()
        .host(host)
        .port(*port)
        .username(&dsn.user)
        .database(&dsn.database);
    let options = options.password(dsn.password.as_deref().unwrap_or_default());
    options
        .timezone(None)
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .connect()
        .await
        .unwrap()
}

pub async fn query(db: &mut MySqlConnection, sql: &str) -> String {
    let rows = db
        .fetch_all(sqlx::raw_sql(AssertSqlSafe(sql.to_owned())))
        .await
        .unwrap();
    let cell = |row: &sqlx::mysql::MySqlRow, at| {
        let bytes: Option<Vec<u8>> = row.try_get_unchecked(at).unwrap();
        bytes.map_or("NULL".to_owned(), |b| {
            String::from_utf8_lossy(&b).into_owned()
        })
    };
    let line = |row: &sqlx::mysql::MySqlRow| {
        (0..row.len())
            .map(|at| cell(row, at))
            .collect::<Vec<_>>()
            .join(" ")
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Tables, a sink on them, and rows on their way.
pub struct Bench {
    pub db: MySqlConnection,
    pub sink: MySqlSink,
    pub rows: BatchBuilder,
    pub writer: Writer,
    pub checkpoint: Sequence,
    pub connected: Connected,
}

impl Bench {
    pub async fn new(dsn: &MySqlDsn, tables: Vec<TableSpec>, ddl: &[String]) -> Self {
        Self::with_session(dsn, tables, ddl, vec![]).await
    }

    pub async fn with_session(
        dsn: &MySqlDsn,
        tables: Vec<TableSpec>,
        ddl: &[String],
        session: Vec<(&str, &str)>,
    ) -> Self {
        let mut db = client(dsn).await;
        for sql in ddl {
            query(&mut db, sql).await;
        }
        let rows = BatchBuilder::new(tables);
        let session = session
            .into_iter()
            .map(|(n, v)| (n.to_owned(), Setting::Text(v.to_owned())))
            .collect();
        let mut sink = MySqlSink::new(dsn.clone(), session, rows.tables(), TIMEOUT);
        let writer = Writer {
            id: unique("writer"),
            durable: false,
            registered: false,
        };
        let connected = sink.connect(&writer).await.unwrap();
        assert_eq!(connected.checkpoint, Some(Sequence(0)));
        Self {
            db,
            sink,
            rows,
            writer,
            checkpoint: Sequence(0),
            connected,
        }
    }

    pub fn is_mariadb(&self) -> bool {
        self.connected.server.starts_with("MariaDB")
    }

    pub fn add(&mut self, table: &str, row: &[(&str, Value<'_>)]) {
        self.rows.add(table, row);
    }

    /// Writes what was added; a failure leaves it to nobody, but the checkpoint alone.
    pub async fn write(&mut self) -> Result<(), Failure> {
        let batch = self.rows.batch();
        let checkpoint = CheckpointMove {
            before: self.checkpoint,
            after: batch.last(),
        };
        let written = self
            .sink
            .write(&self.writer, Some(&batch), checkpoint)
            .await;
        if written.is_ok() {
            self.checkpoint = checkpoint.after;
        }
        written
    }

    pub async fn query(&mut self, sql: &str) -> String {
        query(&mut self.db, sql).await
    }

    /// Asserts that a write is refused, with these words, and that nothing of it is there.
    pub async fn refused(&mut self, table: &str, words: &[&str]) -> Failure {
        let all = format!("SELECT * FROM `{table}` ORDER BY 1");
        let before = self.query(&all).await;
        let failure = self.write().await.unwrap_err();
        assert!(failure.kind.is_refusal(), "{failure:?}");
        for word in words {
            assert!(failure.message.contains(word), "{word}: {failure:?}");
        }
        assert_eq!(self.query(&all).await, before);
        assert_eq!(
            self.sink.read_checkpoint(&self.writer).await.unwrap(),
            self.checkpoint
        );
        failure
    }
}

pub fn spec_for(name: &str, target: &str, base: TableSpec) -> TableSpec {
    TableSpec {
        name: name.to_owned(),
        target: Template::parse(target).unwrap(),
        ..base
    }
}

pub const ACCOUNT: &str = "(id INT UNSIGNED NOT NULL UNIQUE, balance DECIMAL(36,18) NOT NULL DEFAULT 0, \
    available DECIMAL(36,18), note VARCHAR(40), CHECK (balance >= 0)) ENGINE=InnoDB";
