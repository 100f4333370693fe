//! What a process does with its buffer.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use write_buffer::core::Sequence;
use write_buffer::core::table::RowKind;
use write_buffer::core::value::Value;
use write_buffer::engine::buffer::{AppendError, Buffer};

use super::life::Life;
use super::oracle::{Group, History};
use super::random::Random;
use super::tables::{ACCOUNTS, BAD, Effect};
use super::world::{Journal, World};

const SYNC_EVERY: Duration = Duration::from_millis(100);

pub struct Program<'a> {
    pub world: &'a World,
    pub buffer: &'a Arc<Buffer>,
    pub writer: &'a str,
    pub slot: u64,
    pub life: &'a Life,
    pub healthy: bool,
}

impl Program<'_> {
    pub async fn run(&self) {
        let (actions, busy) = self.world.random(|r| (r.between(0, 60), r.chance(500)));
        for _ in 0..actions {
            let pause = self
                .world
                .random(|r| if busy { r.below(3) } else { r.below(60) });
            if pause > 0 {
                sleep(Duration::from_millis(pause)).await;
            }
            match self.world.random(|r| r.below(100)) {
                0..45 => self.add(1).await,
                45..88 => {
                    let rows = self.world.random(|r| r.between(2, 7));
                    self.add(rows).await;
                }
                88..92 => self.roll_back(),
                92..94 => self.clear(),
                _ => {
                    let _ = self.flush(Duration::from_secs(5)).await;
                }
            }
            if self.is_over() {
                break;
            }
        }
        self.end().await;
    }

    fn is_over(&self) -> bool {
        self.life.is_dead() || self.buffer.with_progress(|p| p.halted.is_some())
    }

    /// An orderly end, within a bound as in a real process.
    async fn end(&self) {
        self.buffer.close();
        self.buffer.request_flush(self.buffer.sequence());
        let bound = if self.healthy { 600 } else { 10 };
        let end = Instant::now() + Duration::from_secs(bound);
        while (self.buffer.pending_rows() > 0 || self.buffer.is_recovering())
            && Instant::now() < end
            && !self.is_over()
        {
            sleep(Duration::from_millis(100)).await;
        }
        self.buffer
            .stop(self.buffer.pending_rows() > 0 || self.buffer.is_recovering());
        self.world.note(format!(
            "{}: ends with {} rows pending",
            self.writer,
            self.buffer.pending_rows()
        ));
    }

    /// The thread of `journal = interval`.
    pub async fn sync(&self) {
        if self.world.journal != Journal::Interval {
            return std::future::pending().await;
        }
        loop {
            sleep(SYNC_EVERY).await;
            let through = self.buffer.sequence();
            if self.buffer.sync_appended().is_err() {
                break;
            }
            if !self.life.is_dead() {
                self.safe(through);
            }
        }
        std::future::pending().await
    }

    fn safe(&self, through: Sequence) {
        self.with_history(|h| h.safe = h.safe.max(through.0));
    }

    fn with_history<T>(&self, act: impl FnOnce(&mut History) -> T) -> T {
        let mut state = self.world.state.lock();
        act(&mut state
            .writers
            .iter_mut()
            .find(|(w, _)| w == self.writer)
            .unwrap()
            .1)
    }

    async fn flush(&self, bound: Duration) -> bool {
        let through = self.buffer.sequence();
        self.buffer.request_flush(through);
        let end = Instant::now() + bound;
        while self.buffer.resolved() < through {
            if Instant::now() > end || self.is_over() {
                return false;
            }
            sleep(Duration::from_millis(20)).await;
        }
        true
    }

    fn clear(&self) {
        if !self.world.state.lock().clears {
            return;
        }
        let dropped = || self.buffer.with_progress(|p| p.discarded);
        let before = dropped();
        // Where the note of it cannot be synced the rows are dropped all the same.
        let cleared = self.buffer.clear();
        let (last, rows) = (self.buffer.sequence().0, dropped() - before);
        let is_synced = cleared.is_ok() && !self.life.is_dead();
        self.with_history(|h| {
            if rows > 0 {
                // All that no batch was frozen with: the end of the log.
                h.discarded.push((last + 1 - rows, last));
            }
            h.has_unsynced_discard |= !is_synced;
        });
    }

    fn roll_back(&self) {
        let Ok(Ok(())) = self.buffer.begin() else {
            return;
        };
        let (_, rows) = self.group(3);
        for row in &rows {
            let _ = self.append(row);
        }
        let _ = self.buffer.roll_back();
    }

    /// Adds a group, waiting for room as `add` does.
    async fn add(&self, rows: u64) {
        let (tag, rows) = self.group(rows);
        for _ in 0..40 {
            if self.is_over() {
                return;
            }
            let before = self.buffer.sequence().0;
            let group = Group {
                tag,
                first: before + 1,
                last: before + rows.len() as u64,
                effects: rows.iter().map(|row| row.effect.clone()).collect(),
                acknowledged: false,
            };
            let last = group.last;
            self.with_history(|h| h.groups.push(group));
            let appended = self.append_group(&rows);
            let is_in = self.buffer.sequence().0 == last;
            let acknowledged = appended.is_ok() && !self.life.is_dead();
            self.with_history(|h| match h.groups.last_mut() {
                Some(group) if is_in => group.acknowledged = acknowledged,
                _ => {
                    h.groups.pop();
                }
            });
            if acknowledged && self.world.journal == Journal::Always {
                self.safe(Sequence(last));
            }
            match appended {
                Err(AppendError::Full) => sleep(Duration::from_millis(50)).await,
                Err(error) => {
                    self.world
                        .note(format!("{}: not added: {error:?}", self.writer));
                    return;
                }
                Ok(_) => return,
            }
        }
    }

    fn append_group(&self, rows: &[RowToAdd]) -> Result<Sequence, AppendError> {
        if let [row] = rows {
            return self.append(row);
        }
        self.buffer.begin()?.unwrap();
        for row in rows {
            if let Err(error) = self.append(row) {
                let _ = self.buffer.roll_back();
                return Err(error);
            }
        }
        let committed = self.buffer.commit();
        match committed {
            Ok(committed) => Ok(committed.unwrap()),
            Err(error) => {
                let _ = self.buffer.roll_back();
                Err(error)
            }
        }
    }

    fn append(&self, row: &RowToAdd) -> Result<Sequence, AppendError> {
        let table = self.buffer.table(row.table.as_bytes()).unwrap();
        let names: Vec<_> = row.fields.iter().map(|(name, _)| name.as_bytes()).collect();
        let kind = match row.effect {
            Effect::Delete { .. } => RowKind::Delete,
            _ => RowKind::Put,
        };
        let shape = self.buffer.shape(table, kind, &names).unwrap();
        let values: Vec<_> = row.fields.iter().map(|(_, field)| field.value()).collect();
        self.buffer.append(&shape, &values)
    }

    /// A new group's tag and rows; the first row carries the tag.
    fn group(&self, rows: u64) -> (i64, Vec<RowToAdd>) {
        let mut state = self.world.state.lock();
        state.tags += 1;
        // Beyond every user's number.
        let tag = 1_000_000 + state.tags;
        let random = &mut state.random;
        let bad = !self.healthy && random.chance(40);
        let mut made = vec![match random.below(3) {
            _ if bad && random.chance(500) => RowToAdd::balance(random, tag),
            0 if !bad => RowToAdd::trade(tag),
            _ => RowToAdd::order(random, self.slot, tag, bad),
        }];
        for _ in 1..rows {
            let user = i64::try_from(random.between(1, ACCOUNTS as u64)).unwrap();
            made.push(match random.below(5) {
                0 => RowToAdd::order(random, self.slot, tag, false),
                1 => RowToAdd::deletion(random, self.slot),
                _ => RowToAdd::balance(random, user),
            });
        }
        (tag, made)
    }
}

#[derive(Debug, Clone)]
pub enum FieldValue {
    Int(i64),
    Text(String),
}

impl FieldValue {
    pub fn value(&self) -> Value<'_> {
        match self {
            Self::Int(n) => Value::Int(*n),
            Self::Text(text) => Value::Bytes(text.as_bytes()),
        }
    }
}

#[derive(Debug, Clone)]
pub struct RowToAdd {
    pub table: &'static str,
    pub fields: Vec<(&'static str, FieldValue)>,
    pub effect: Effect,
}

impl RowToAdd {
    fn order_id(random: &mut Random, slot: u64) -> i64 {
        i64::try_from(slot * 100 + random.between(1, 8)).unwrap()
    }

    pub fn order(random: &mut Random, slot: u64, tag: i64, bad: bool) -> Self {
        // A key of its own: a later value of the same column would hide the bad one.
        let id = if bad {
            tag
        } else {
            Self::order_id(random, slot)
        };
        let status = if bad {
            BAD
        } else {
            random.pick(&["new", "pending", "executed"])
        };
        let mut fields = vec![
            ("id", FieldValue::Int(id)),
            ("tag", FieldValue::Int(tag)),
            ("status", FieldValue::Text(status.to_owned())),
        ];
        if random.chance(300) {
            fields.push((
                "note",
                FieldValue::Text("x".repeat(usize::try_from(random.below(700)).unwrap())),
            ));
        }
        let columns = fields[1..].iter().map(|(name, value)| {
            let text = match value {
                FieldValue::Int(n) => n.to_string(),
                FieldValue::Text(text) => text.clone(),
            };
            ((*name).to_owned(), text)
        });
        Self {
            table: "orders",
            effect: Effect::Put {
                order: id,
                columns: columns.collect(),
            },
            fields,
        }
    }

    pub fn deletion(random: &mut Random, slot: u64) -> Self {
        let order = Self::order_id(random, slot);
        Self {
            table: "orders",
            fields: vec![("id", FieldValue::Int(order))],
            effect: Effect::Delete { order },
        }
    }

    pub fn trade(tag: i64) -> Self {
        Self {
            table: "trades",
            fields: vec![("match_id", FieldValue::Int(tag))],
            effect: Effect::Insert { trade: tag },
        }
    }

    pub fn balance(random: &mut Random, user: i64) -> Self {
        let currency = random.pick(&["usd", "btc"]);
        let thousandths = i128::from(random.below(2_000_000)) - 1_000_000;
        let sign = if thousandths < 0 { "-" } else { "" };
        let text = format!(
            "{sign}{}.{:03}",
            thousandths.abs() / 1_000,
            thousandths.abs() % 1_000
        );
        let column = random.pick(&["balance", "available_balance"]);
        Self {
            table: "balances",
            fields: vec![
                ("user_id", FieldValue::Int(user)),
                ("currency", FieldValue::Text(currency.to_owned())),
                (column, FieldValue::Text(text)),
            ],
            effect: Effect::Add {
                account: (format!("spot_{currency}_accounts"), user),
                amounts: vec![(column.to_owned(), thousandths * 10_i128.pow(7))],
            },
        }
    }
}
