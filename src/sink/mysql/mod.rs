//! MySQL 8 and 9, MariaDB 10.6 and later: a batch becomes one transaction.
//!
//! | file | what it owns |
//! |---|---|
//! | `connect` | addresses, session, messages about what cannot be reached |
//! | `predecessor` | the session this writer had before, if the server still has it |
//! | `nodelay` | TCP_NODELAY for that connection |
//! | `link` | one connection, packets of statements, the server's traits |
//! | `checkpoint` | the table of checkpoints |
//! | `schema`, `target` | tables as they are, and whether they suit their declarations |
//! | `literal`, `row`, `statement`, `plan` | pure: values, statements, and which rows share one |
//! | `ahead` | the next batch's statements, built while the server works on this one |
//! | `transaction` | the transaction: packets, counts, savepoints |
//! | `settle` | rows written the careful way, one by one |
//! | `errors` | what an error number means |
//!
//! Always true: nothing is committed unless every row was seen to be written and the
//! checkpoint moved by exactly one row; a connection whose state is not certain is dropped;
//! no value becomes SQL (see `literal`); sums are added by the server as exact decimals.
//!
//! It keeps no time: only connecting has a time-out of its own. Whoever has waited long
//! enough for anything else drops the future, and with it the connection.

mod ahead;
mod checkpoint;
pub mod connect;
mod errors;
mod link;
mod literal;
mod nodelay;
mod plan;
mod predecessor;
mod row;
mod schema;
mod settle;
mod statement;
mod target;
mod transaction;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::core::Sequence;
use crate::core::batch::Batch;
use crate::core::config::Setting;
use crate::core::dsn::MySqlDsn;
use crate::core::failure::{Failure, FailureKind};
use crate::core::table::TableSpec;
use crate::sink::{CheckpointMove, Connected, Prepare, Sink, Writer};

use ahead::Ahead;
use connect::Address;
use errors::{READ_ONLY, SCHEMA_CHANGED};
use link::Link;
use schema::TableInfo;
use target::Target;
use transaction::Transaction;

/// A MySQL or MariaDB database.
pub struct MySqlSink {
    dsn: MySqlDsn,
    session: Vec<(String, Setting)>,
    tables: Vec<Arc<TableSpec>>,
    connect_timeout: Duration,
    addresses: Vec<Address>,
    /// The address that worked last.
    preferred: usize,
    link: Option<Link>,
    schema: Schema,
    ahead: Arc<Ahead>,
    /// The checkpoint that is certain, of which writer. With it a row that was pruned
    /// while this writer was idle is put back.
    known: Option<(String, Sequence)>,
}

/// What is known of the database's tables; as old as the connection at most.
#[derive(Default)]
struct Schema {
    tables: HashMap<String, Arc<TableInfo>>,
    /// Whether all of it was read for the transaction at hand.
    is_fresh: bool,
}

impl MySqlSink {
    /// A sink that is not connected yet.
    #[must_use]
    pub fn new(
        dsn: MySqlDsn,
        session: Vec<(String, Setting)>,
        tables: Vec<Arc<TableSpec>>,
        connect_timeout: Duration,
    ) -> Self {
        let addresses = connect::addresses(&dsn);
        Self {
            dsn,
            session,
            tables,
            connect_timeout,
            addresses,
            preferred: 0,
            link: None,
            schema: Schema::default(),
            ahead: Arc::default(),
            known: None,
        }
    }

    async fn connect_to(
        &self,
        address: &Address,
        writer: &Writer,
    ) -> Result<(Link, Option<Sequence>), Failure> {
        let mut link = connect::open(
            &self.dsn,
            &self.session,
            address,
            writer,
            self.connect_timeout,
        )
        .await?;
        let start = self
            .known
            .as_ref()
            .filter(|(id, _)| *id == writer.id)
            .map_or(Sequence(0), |(_, known)| *known);
        let prepared = async {
            let checkpoint = checkpoint::ensure(&mut link, writer, start).await?;
            checkpoint::prune(&mut link).await;
            Ok(checkpoint)
        };
        match tokio::time::timeout(self.connect_timeout, prepared).await {
            Ok(checkpoint) => checkpoint.map(|checkpoint| (link, checkpoint)),
            Err(_) => Err(connect::silent(address)),
        }
    }

    /// Drops the connection's knowledge of tables, and reads ahead what the fixed ones are;
    /// one that is missing matters when it is written to.
    async fn reset_schema(&mut self, link: &mut Link) -> Result<(), Failure> {
        self.forget_schema();
        self.ahead.connected(&link.server);
        let fixed = self
            .tables
            .iter()
            .filter(|spec| spec.target.is_fixed())
            .map(|spec| spec.target.text());
        let names: Vec<_> = fixed.collect();
        let tables = schema::read(link, &names).await;
        self.schema.tables =
            tables.map_err(|e| e.while_doing("Could not read the tables' columns"))?;
        Ok(())
    }

    fn forget_schema(&mut self) {
        self.schema = Schema::default();
        self.ahead.forget_tables();
    }

    /// Finds the tables of a batch, in the order of [`Batch::tables`].
    async fn targets(
        &mut self,
        link: &mut Link,
        batch: &Batch,
    ) -> Result<Vec<Arc<Target>>, Failure> {
        let tables: Vec<_> = batch.tables().collect();
        let unknown: Vec<_> = tables
            .iter()
            .map(|t| t.name.as_str())
            .filter(|n| !self.schema.tables.contains_key(*n))
            .collect();
        self.schema.is_fresh = unknown.len() == tables.len();
        let read = schema::read(link, &unknown).await;
        self.schema
            .tables
            .extend(read.map_err(|e| e.while_doing("Could not read the tables' columns"))?);
        let mut targets = Vec::with_capacity(tables.len());
        for table in tables {
            let target = match self.ahead.target(table.table_id.0, &table.name) {
                Some(target) => target,
                None => {
                    let found = self.schema.tables.get(&table.name);
                    let target = Arc::new(Target::new(&table.spec, &table.name, found)?);
                    self.ahead.know(table.table_id.0, &table.name, &target);
                    target
                }
            };
            targets.push(target);
        }
        Ok(targets)
    }

    async fn write_all(
        &mut self,
        link: &mut Link,
        writer: &Writer,
        batch: Option<&Batch>,
        checkpoint: CheckpointMove,
    ) -> Result<(), Failure> {
        let units = match batch {
            Some(batch) => {
                let targets = self.targets(link, batch).await?;
                let built = self.ahead.take(batch);
                built.map_or_else(|| plan::units(batch, &targets, &link.server), Ok)?
            }
            None => Vec::new(),
        };
        let advance = checkpoint::advance(writer, checkpoint);
        let mut transaction = Transaction::new(link, batch);
        failpoint!("execute-before");
        if let Err(failure) = transaction.perform(&units, &advance).await {
            // What may have happened on a broken wire is not known; but COMMIT was not sent.
            if failure.kind != FailureKind::Lost && !transaction.roll_back().await {
                // The next START TRANSACTION on it would commit what this one left.
                link.is_certain = false;
                return Err(Failure {
                    kind: lost_unless_final(failure.kind),
                    ..failure
                });
            }
            return Err(failure);
        }
        // Until the reply is here nothing is certain, also when nobody waits for it any more.
        let known = self.known.take();
        let committed = transaction.commit().await;
        if committed
            .as_ref()
            .is_err_and(|f| f.kind == FailureKind::Transient)
        {
            self.known = known;
        }
        committed
    }
}

/// A transaction that could not be rolled back ends with its connection. What was wrong
/// with the data or the set-up stays wrong; anything else is repeated on a new connection.
fn lost_unless_final(kind: FailureKind) -> FailureKind {
    match kind {
        FailureKind::Refused
        | FailureKind::Unfit
        | FailureKind::Misconfigured
        | FailureKind::Fenced => kind,
        FailureKind::Transient | FailureKind::Lost => FailureKind::Lost,
    }
}

impl Sink for MySqlSink {
    fn preparer(&self) -> Option<Arc<dyn Prepare>> {
        Some(Arc::clone(&self.ahead) as Arc<dyn Prepare>)
    }

    async fn connect(&mut self, writer: &Writer) -> Result<Connected, Failure> {
        self.link = None;
        let mut failures: Vec<Failure> = Vec::new();
        for n in 0..self.addresses.len() {
            let at = (self.preferred + n) % self.addresses.len();
            let address = self.addresses[at].clone();
            match self.connect_to(&address, writer).await {
                Ok((mut link, checkpoint)) => {
                    let timeout = self.connect_timeout;
                    let read = tokio::time::timeout(timeout, self.reset_schema(&mut link)).await;
                    read.unwrap_or_else(|_| Err(connect::silent(&address)))?;
                    self.preferred = at;
                    self.known = checkpoint.map(|known| (writer.id.clone(), known));
                    let server = link.server.name.clone();
                    let row_bytes_max = Some(link.server.row_bytes_max() as u64);
                    self.link = Some(link);
                    return Ok(Connected {
                        server,
                        checkpoint,
                        row_bytes_max,
                    });
                }
                Err(failure) => failures.push(failure),
            }
        }
        Err(worst(failures))
    }

    async fn read_checkpoint(&mut self, writer: &Writer) -> Result<Sequence, Failure> {
        let mut link = self.link.take().ok_or_else(not_connected)?;
        let read = checkpoint::read(&mut link, writer).await;
        if read.as_ref().is_ok_and(Option::is_some)
            || read.as_ref().is_err_and(|f| f.kind != FailureKind::Lost)
        {
            self.link = Some(link);
        }
        let missing = "The writer's row in `write_buffer_checkpoints` is gone; another process must have deleted it.";
        let checkpoint = read?.ok_or_else(|| Failure::new(FailureKind::Fenced, missing))?;
        self.known = Some((writer.id.clone(), checkpoint));
        Ok(checkpoint)
    }

    async fn write(
        &mut self,
        writer: &Writer,
        batch: Option<&Batch>,
        checkpoint: CheckpointMove,
    ) -> Result<(), Failure> {
        // Taken, so that a future that is dropped half-way takes the connection with it.
        let mut link = self.link.take().ok_or_else(not_connected)?;
        let mut written = self.write_all(&mut link, writer, batch, checkpoint).await;
        if written.as_ref().is_err_and(is_of_schema) && !self.schema.is_fresh {
            // A migration may have run since the tables were looked at. Nothing was sent yet.
            self.forget_schema();
            written = self.write_all(&mut link, writer, batch, checkpoint).await;
        }
        let Err(mut failure) = written else {
            self.known = Some((writer.id.clone(), checkpoint.after));
            self.link = Some(link);
            return Ok(());
        };
        let code = u16::try_from(failure.code).unwrap_or(0);
        if SCHEMA_CHANGED.contains(&code) {
            // Against tables as they were read before: read them anew, once.
            if !self.schema.is_fresh && !self.ahead.knows_no_table() {
                failure.kind = FailureKind::Transient;
            }
            self.forget_schema();
        }
        if is_of_schema(&failure) {
            self.forget_schema();
        }
        if READ_ONLY.contains(&code) {
            // Another host may have become the one that takes writes.
            self.preferred = (self.preferred + 1) % self.addresses.len();
        } else if failure.kind != FailureKind::Lost && code != 1153 && link.is_certain {
            self.link = Some(link);
        }
        Err(failure)
    }

    async fn forget(&mut self, writer: &Writer) -> bool {
        let Some(mut link) = self.link.take() else {
            return false;
        };
        let forgetting = checkpoint::forget(&mut link, writer);
        match tokio::time::timeout(self.connect_timeout, forgetting).await {
            Ok(forgotten) => {
                self.link = Some(link);
                forgotten
            }
            // A connection that does not answer is not one to go on with.
            Err(_) => false,
        }
    }

    async fn close(&mut self) {
        if let Some(link) = self.link.take() {
            // Best effort: nobody waits for a server that does not answer.
            let _ = tokio::time::timeout(self.connect_timeout, link.quit()).await;
        }
    }
}

/// Whether it was found by comparing rows and declarations with the tables, before any
/// statement was sent.
fn is_of_schema(failure: &Failure) -> bool {
    failure.code == 0
        && matches!(
            failure.kind,
            FailureKind::Unfit | FailureKind::Misconfigured
        )
}

fn not_connected() -> Failure {
    Failure::new(FailureKind::Lost, "There is no connection to the database.")
}

/// Of several hosts' failures, one that time may mend goes first: it is worth a retry.
fn worst(failures: Vec<Failure>) -> Failure {
    let all = failures
        .iter()
        .map(|f| f.message.as_str())
        .collect::<Vec<_>>()
        .join(" ");
    let rank = |f: &Failure| match f.kind {
        FailureKind::Transient => 0,
        FailureKind::Lost => 1,
        _ => 2,
    };
    let first = failures.into_iter().min_by_key(rank);
    first.map_or_else(not_connected, |f| Failure { message: all, ..f })
}
