//! Reading checkpoints: plain reads, in a connection that writes and makes nothing.

use std::collections::HashMap;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::core::dsn::{Dsn, MySqlDsn};
use crate::sink::mysql::connect::{addresses, options};

/// How long a database may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
const NO_SUCH_TABLE: &str = "1146";

/// The checkpoints of those writers that the database knows.
pub fn read(dsn: &Dsn, writers: &[&str]) -> Result<HashMap<String, u64>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("No event loop: {e}."))?;
    let read = async {
        let read = async {
            match dsn {
                Dsn::Sqlite { path } => sqlite(path, writers).await,
                Dsn::MySql(dsn) => mysql(dsn, writers).await,
            }
        };
        let read = tokio::time::timeout(TIMEOUT, read).await;
        read.unwrap_or_else(|_| Err(format!("no answer within {} s", TIMEOUT.as_secs())))
    };
    let read = runtime.block_on(read);
    runtime.shutdown_timeout(Duration::from_millis(100));
    read.map_err(|e| {
        format!(
            "The checkpoints in {} cannot be read: {e}; what is pending is not known.",
            dsn.redacted()
        )
    })
}

async fn sqlite(path: &str, writers: &[&str]) -> Result<HashMap<String, u64>, String> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true);
    let mut connection = options.connect().await.map_err(|e| e.to_string())?;
    let tables = "SELECT count(*) FROM sqlite_master WHERE name = 'write_buffer_checkpoints'";
    let tables: i64 = sqlx::query_scalar(tables)
        .fetch_one(&mut connection)
        .await
        .map_err(|e| e.to_string())?;
    let mut found = HashMap::new();
    for writer in writers.iter().filter(|_| tables > 0) {
        let read = "SELECT sequence FROM write_buffer_checkpoints WHERE writer = ?";
        let read = sqlx::query_scalar::<_, i64>(read).bind(writer);
        let read = read.fetch_optional(&mut connection).await;
        if let Some(sequence) = read.map_err(|e| e.to_string())? {
            found.insert((*writer).to_owned(), u64::try_from(sequence).unwrap_or(0));
        }
    }
    let _ = connection.close().await;
    Ok(found)
}

async fn mysql(dsn: &MySqlDsn, writers: &[&str]) -> Result<HashMap<String, u64>, String> {
    let mut refused = String::new();
    let mut connection = None;
    for address in addresses(dsn) {
        match options(dsn, &address).connect().await {
            Ok(connected) => {
                connection = Some(connected);
                break;
            }
            Err(error) => refused = error.to_string(),
        }
    }
    let mut connection = connection.ok_or(refused)?;
    let mut found = HashMap::new();
    for writer in writers {
        let read = "SELECT sequence FROM write_buffer_checkpoints WHERE writer = ?";
        let read = sqlx::query_scalar::<_, u64>(read).bind(writer);
        match read.fetch_optional(&mut connection).await {
            Ok(Some(sequence)) => {
                found.insert((*writer).to_owned(), sequence);
            }
            Ok(None) => {}
            Err(sqlx::Error::Database(e)) if is_no_such_table(&*e) => break,
            Err(error) => return Err(error.to_string()),
        }
    }
    let _ = connection.close().await;
    Ok(found)
}

fn is_no_such_table(error: &dyn sqlx::error::DatabaseError) -> bool {
    error.code().as_deref() == Some("42S02") || error.message().contains(NO_SUCH_TABLE)
}
