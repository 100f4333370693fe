//! Merging against a model that does not merge: a map of rows to which every added row is
//! applied by itself, in order.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::LazyLock;

use common::{BatchBuilder, delta_spec, names, spec, text};
use num_bigint::BigInt;
use proptest::prelude::*;
use write_buffer::core::Sequence;
use write_buffer::core::batch::{Batch, CellValue, Change, Operation, compare_versions};
use write_buffer::core::batch_size::ROWS_MIN;
use write_buffer::core::decimal::Decimal;
use write_buffer::core::hold::{Claim, Held, borders};
use write_buffer::core::ledger::{Fate as Outcome, Tally};
use write_buffer::core::merge::{Merger, PendingRow, PendingValue};
use write_buffer::core::table::{ColumnRole, Missing, Mode, TableId, TableSpec, Template};
use write_buffer::core::value::Value::Int;
use write_buffer::core::value::{KeyText, Value};

// ---- the database ----------------------------------------------------------------------

/// A stored value. Amounts are whole numbers of 10^-30.
#[derive(Debug, Clone, PartialEq)]
enum Cell {
    Null,
    Number(i64),
    Text(Vec<u8>),
    Amount(BigInt),
}

type Row = BTreeMap<String, Cell>;

/// Tables by their filled names; rows in the order they were first inserted.
#[derive(Debug, Clone, Default, PartialEq)]
struct Database(BTreeMap<String, Vec<Row>>);

fn scaled(amount: &Decimal) -> BigInt {
    let text = amount.to_string();
    let (integer, fraction) = text.split_once('.').unwrap_or((&text, ""));
    format!("{integer}{fraction:0<30}").parse().unwrap()
}

fn cell(value: CellValue<'_>, role: ColumnRole) -> Cell {
    match (value, role) {
        (CellValue::Sum(sum), _) => Cell::Amount(scaled(sum)),
        (CellValue::Value(value), ColumnRole::Delta) => {
            Cell::Amount(scaled(&value.to_decimal().unwrap()))
        }
        // 5 and "5" are one key.
        (CellValue::Value(Int(n)), ColumnRole::Key) => Cell::Text(n.to_string().into_bytes()),
        (CellValue::Value(Value::Null), _) => Cell::Null,
        (CellValue::Value(Value::Bool(b)), _) => Cell::Number(i64::from(b)),
        (CellValue::Value(Int(n)), _) => Cell::Number(n),
        (CellValue::Value(Value::Float(x)), _) => Cell::Text(x.to_string().into_bytes()),
        (CellValue::Value(Value::Bytes(bytes)), _) => Cell::Text(bytes.to_vec()),
    }
}

fn version(cell: Option<&Cell>) -> Value<'_> {
    match cell {
        Some(Cell::Number(n)) => Int(*n),
        Some(Cell::Text(text)) => Value::Bytes(text),
        _ => Value::Null,
    }
}

/// Lays columns over a row as an UPDATE does.
fn lay_over(row: &mut Row, columns: &[(String, ColumnRole, Cell)]) {
    for (name, role, new) in columns {
        let is_older = *role == ColumnRole::Version
            && row.contains_key(name)
            && compare_versions(&version(Some(new)), &version(row.get(name))).is_lt();
        if is_older {
            return;
        }
    }
    for (name, _, new) in columns {
        match (row.get_mut(name), new) {
            (Some(Cell::Amount(sum)), Cell::Amount(more)) => *sum += more,
            _ => {
                row.insert(name.clone(), new.clone());
            }
        }
    }
}

impl Database {
    fn apply(
        &mut self,
        spec: &TableSpec,
        table: &str,
        change: Change,
        columns: &[(String, ColumnRole, Cell)],
    ) {
        let rows = self.0.entry(table.to_owned()).or_default();
        let is_same = |row: &Row| {
            let mut keys = columns
                .iter()
                .filter(|(_, role, _)| *role == ColumnRole::Key);
            keys.all(|(name, _, value)| row.get(name) == Some(value))
        };
        match change {
            Change::Delete => rows.retain(|row| !is_same(row)),
            Change::Insert if !spec.unique.is_empty() && rows.iter().any(is_same) => {}
            Change::Insert => rows.push(
                columns
                    .iter()
                    .map(|(n, _, c)| (n.clone(), c.clone()))
                    .collect(),
            ),
            Change::Upsert | Change::Update | Change::Delta => {
                match rows.iter_mut().find(|row| is_same(row)) {
                    Some(row) => lay_over(row, columns),
                    None => rows.push(
                        columns
                            .iter()
                            .map(|(n, _, c)| (n.clone(), c.clone()))
                            .collect(),
                    ),
                }
            }
        }
    }

    /// Executes a batch as a sink does.
    fn execute(&mut self, batch: &Batch) {
        for table in batch.tables() {
            for operation in batch.operations(table) {
                self.apply(
                    &table.spec,
                    &table.name,
                    operation.change,
                    &columns_of(&operation),
                );
            }
        }
    }

    /// The same tables with the rows of those that have a key in one order, so that only
    /// the order of appended rows counts.
    fn in_order(mut self) -> Self {
        self.0.retain(|_, rows| !rows.is_empty());
        for (name, rows) in &mut self.0 {
            let is_append = TABLES
                .iter()
                .any(|t| t.mode == Mode::Insert && t.target.text() == name);
            if !is_append {
                rows.sort_by_key(|row| format!("{row:?}"));
            }
        }
        self
    }
}

fn columns_of(operation: &Operation<'_>) -> Vec<(String, ColumnRole, Cell)> {
    let columns = operation.columns.iter().zip(&operation.values);
    columns
        .map(|(c, value)| (c.name.to_string(), c.role, cell(*value, c.role)))
        .collect()
}

// ---- rows ------------------------------------------------------------------------------

/// One table of each kind.
static TABLES: LazyLock<Vec<TableSpec>> = LazyLock::new(|| {
    let version = Some("version".to_owned());
    let mut accounts = delta_spec("accounts", &["id"], &["x", "y"]);
    accounts.target = Template::parse("spot_{currency}_accounts").unwrap();
    accounts.key[0].field = "user".to_owned();
    vec![
        spec("log", Mode::Insert, &[]),
        TableSpec {
            unique: names(&["match"]),
            ..spec("trades", Mode::Insert, &[])
        },
        spec("events", Mode::Insert, &["id"]),
        spec("orders", Mode::Upsert, &["id"]),
        TableSpec {
            version: version.clone(),
            ..spec("quotes", Mode::Upsert, &["id"])
        },
        TableSpec {
            missing: Missing::Insert,
            ..spec("states", Mode::Update, &["a", "id"])
        },
        TableSpec {
            version,
            missing: Missing::Insert,
            ..spec("marks", Mode::Update, &["id"])
        },
        delta_spec("volumes", &["id"], &["x", "y"]),
        accounts,
    ]
});

/// Keys are few, so that rows meet.
const KEYS: u8 = 4;

#[derive(Debug, Clone)]
struct AddedRow {
    table: usize,
    delete: bool,
    key: u8,
    key_is_text: bool,
    currency: bool,
    /// Which of the optional columns are there.
    columns: u8,
    numbers: [i64; 3],
    fine: bool,
    reverse: bool,
}

const AMOUNTS: [&str; 6] = [
    "1",
    "-0.1",
    "0.000000000000000000000000000001",
    "99999999999999999999999999999999999",
    "-7.50",
    "1e-8",
];

impl AddedRow {
    /// Gives the row to `add` with its fields in its order.
    fn with_fields<T>(&self, take: impl FnOnce(&str, &[(&str, Value<'_>)]) -> T) -> T {
        let table = &TABLES[self.table];
        let key_text = self.key.to_string();
        let key = if self.key_is_text {
            text(&key_text)
        } else {
            Int(i64::from(self.key))
        };
        let mut fields: Vec<(&str, Value<'_>)> = Vec::new();
        for identity in &table.identity() {
            let name = ["match", "id", "a", "user"]
                .into_iter()
                .find(|n| *n == identity.field)
                .unwrap();
            fields.push((
                name,
                if name == "a" {
                    Int(self.numbers[2] & 1)
                } else {
                    key
                },
            ));
        }
        if table.name == "accounts" {
            fields.push(("currency", text(if self.currency { "usd" } else { "btc" })));
        }
        if !self.delete {
            self.add_columns(table, &mut fields);
        }
        if self.reverse {
            fields.reverse();
        }
        take(&table.name, &fields)
    }

    fn add_columns(&self, table: &TableSpec, fields: &mut Vec<(&str, Value<'_>)>) {
        if table.version.is_some() {
            // All columns always: see `an_older_row_that_a_newer_one_covers_in_part`, and
            // within one group the rows of a key are one row of the last version.
            let version = self.numbers[0] % 6;
            fields.extend([
                ("version", Int(version)),
                ("p", Int(self.numbers[1])),
                ("q", Value::Null),
            ]);
            return;
        }
        for (bit, name) in ["x", "y"].into_iter().enumerate() {
            // Bit 2 makes sure that an update changes something.
            if self.columns & 1 << bit != 0 || (bit == 0 && self.columns & 3 == 0) {
                let amount =
                    AMOUNTS[usize::try_from(self.numbers[bit].unsigned_abs() % 6).unwrap()];
                fields.push((
                    name,
                    if self.fine {
                        text(amount)
                    } else {
                        Int(self.numbers[bit])
                    },
                ));
            }
        }
        if self.columns & 4 != 0 {
            fields.push((
                "note",
                if self.fine {
                    Value::Null
                } else {
                    Int(self.numbers[2])
                },
            ));
        }
    }

    /// What the database would do with this row alone.
    fn apply(&self, database: &mut Database) {
        let table = &TABLES[self.table];
        let change = match (self.delete, table.mode) {
            (true, _) => Change::Delete,
            (false, Mode::Insert) => Change::Insert,
            (false, Mode::Upsert) => Change::Upsert,
            (false, Mode::Update) => Change::Update,
            (false, Mode::Delta) => Change::Delta,
        };
        self.with_fields(|_, fields| {
            let columns: Vec<_> = fields
                .iter()
                .filter(|(name, _)| *name != "currency")
                .map(|(name, value)| {
                    let key = table.identity().into_iter().find(|k| k.field == *name);
                    let role = match () {
                        () if key.is_some() => ColumnRole::Key,
                        () if table.delta.iter().any(|d| d == name) => ColumnRole::Delta,
                        () if table.version.as_deref() == Some(name) => ColumnRole::Version,
                        () => ColumnRole::Value,
                    };
                    let name = key.map_or((*name).to_owned(), |k| k.column);
                    (name, role, cell(CellValue::Value(*value), role))
                })
                .collect();
            database.apply(table, &self.target(), change, &columns);
        });
    }

    fn target(&self) -> String {
        let table = &TABLES[self.table];
        table
            .target
            .text()
            .replace("{currency}", if self.currency { "usd" } else { "btc" })
    }

    fn key_bytes(&self) -> Vec<u8> {
        let table = &TABLES[self.table];
        let mut key = KeyText::new();
        for identity in table.identity() {
            let value = if identity.field == "a" {
                self.numbers[2] & 1
            } else {
                i64::from(self.key)
            };
            assert!(Int(value).append_key(&mut key));
        }
        key.into_vec()
    }
}

fn row() -> impl Strategy<Value = AddedRow> {
    let parts = (
        0..TABLES.len(),
        0..8u8,
        0..KEYS,
        any::<[bool; 4]>(),
        0..8u8,
        any::<[i16; 3]>(),
    );
    parts.prop_map(
        |(table, delete, key, [key_is_text, currency, fine, reverse], columns, numbers)| AddedRow {
            table,
            delete: delete == 0 && !TABLES[table].identity().is_empty(),
            key,
            key_is_text,
            currency,
            columns,
            numbers: numbers.map(i64::from),
            fine,
            reverse,
        },
    )
}

// ---- actions ---------------------------------------------------------------------------

#[derive(Debug, Clone)]
enum Action {
    /// Frames that arrive together; each is one row or one group.
    Add(Vec<Vec<AddedRow>>),
    Freeze,
    /// Writes the oldest frozen batch.
    Commit,
    /// Puts it in quarantine instead.
    Quarantine,
    /// Tries to, and nothing of it happens.
    Fail,
    Split,
    Discard,
}

fn action() -> impl Strategy<Value = Action> {
    let frames = prop::collection::vec(prop::collection::vec(row(), 1..4), 1..4);
    prop_oneof![
        6 => frames.prop_map(Action::Add),
        3 => Just(Action::Freeze),
        3 => Just(Action::Commit),
        1 => Just(Action::Quarantine),
        1 => Just(Action::Fail),
        1 => Just(Action::Split),
        1 => Just(Action::Discard),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Pending,
    Committed,
    Quarantined,
    Discarded,
}

struct World {
    rows: BatchBuilder,
    merger: Merger,
    database: Database,
    /// The model: every row applied by itself, those committed and those not discarded.
    committed: Database,
    now: Database,
    /// Every row ever added, and what became of it.
    added: Vec<(AddedRow, Fate)>,
    /// Last row of each frame.
    borders: Vec<u64>,
    /// What each frozen batch was when it was frozen.
    frozen: VecDeque<String>,
}

/// Everything a sink can see of a batch.
fn fingerprint(batch: &Batch) -> String {
    let operations: Vec<_> = batch
        .tables()
        .map(|t| (&t.name, batch.operations(t)))
        .collect();
    format!("{} {} {operations:?}", batch.first(), batch.last())
}

impl World {
    fn new() -> Self {
        Self {
            rows: BatchBuilder::new(TABLES.clone()),
            merger: Merger::at(Sequence(0)),
            database: Database::default(),
            committed: Database::default(),
            now: Database::default(),
            added: Vec::new(),
            borders: vec![0],
            frozen: VecDeque::new(),
        }
    }

    fn step(&mut self, action: &Action) {
        match action {
            Action::Add(frames) => {
                for frame in frames {
                    self.rows.group(|rows| {
                        for row in frame {
                            row.with_fields(|table, fields| match row.delete {
                                true => rows.delete(table, fields),
                                false => rows.add(table, fields),
                            });
                        }
                    });
                    frame.iter().for_each(|row| row.apply(&mut self.now));
                    self.added
                        .extend(frame.iter().map(|row| (row.clone(), Fate::Pending)));
                    self.borders.push(self.rows.last().0);
                }
                self.rows.push_into(&mut self.merger);
            }
            Action::Freeze => {
                if let Some(batch) = self.merger.freeze().unwrap() {
                    self.frozen.push_back(fingerprint(&batch));
                }
            }
            Action::Commit => {
                if let Some(batch) = self.merger.frozen().cloned() {
                    self.database.execute(&batch);
                    let resolved = self.merger.resolve(Outcome::Committed).unwrap();
                    assert_eq!(resolved.last(), batch.last());
                    self.frozen.pop_front();
                    self.set_fate(&batch, Fate::Committed);
                }
            }
            Action::Quarantine => {
                if let Some(batch) = self.merger.resolve(Outcome::Quarantined) {
                    self.frozen.pop_front();
                    self.set_fate(&batch, Fate::Quarantined);
                    self.forget();
                }
            }
            Action::Fail => {
                if let Some(batch) = self.merger.frozen().cloned() {
                    self.database.clone().execute(&batch);
                }
            }
            Action::Split => {
                if self.merger.frozen().is_some_and(|b| b.group_count() > 1) {
                    let count = self.merger.frozen().unwrap().group_count();
                    self.merger.split(&self.rows.shapes()).unwrap();
                    let halves: Vec<_> = self.merger.batches().take(2).collect();
                    assert_eq!(halves.iter().map(|b| b.group_count()).sum::<usize>(), count);
                    let halves: Vec<_> = halves.into_iter().map(fingerprint).collect();
                    self.frozen.pop_front();
                    halves
                        .into_iter()
                        .rev()
                        .for_each(|half| self.frozen.push_front(half));
                }
            }
            Action::Discard => {
                for batch in self.merger.discard(self.rows.last()) {
                    self.set_fate(&batch, Fate::Discarded);
                }
                self.forget();
            }
        }
    }

    /// Some rows will never be in the database.
    fn forget(&mut self) {
        self.now = Database::default();
        let kept = self.added.iter();
        let kept = kept.filter(|(_, fate)| matches!(fate, Fate::Pending | Fate::Committed));
        kept.for_each(|(row, _)| row.apply(&mut self.now));
    }

    fn set_fate(&mut self, batch: &Batch, fate: Fate) {
        for sequence in batch.first().0..=batch.last().0 {
            let row = &mut self.added[usize::try_from(sequence).unwrap() - 1];
            assert_eq!(row.1, Fate::Pending, "row {sequence} meets its fate once");
            row.1 = fate;
            if fate == Fate::Committed {
                row.0.apply(&mut self.committed);
            }
        }
    }

    fn check(&self) {
        let (database, committed) = (
            self.database.clone().in_order(),
            self.committed.clone().in_order(),
        );
        assert_eq!(database, committed, "the database is what was committed");
        let pending = self
            .added
            .iter()
            .position(|(_, fate)| *fate == Fate::Pending);
        let resolved = pending.unwrap_or(self.added.len()) as u64;
        assert_eq!(self.merger.resolved(), Sequence(resolved));
        let late = self
            .added
            .iter()
            .skip(resolved as usize)
            .any(|(_, fate)| *fate == Fate::Committed);
        assert!(!late, "nothing is committed before what came earlier");
        self.check_batches();
        self.check_found();
        self.check_conservation();
    }

    /// Rows and sums are where the model says that each row is.
    fn check_conservation(&self) {
        assert_eq!(self.merger.check(), Ok(()));
        let ledger = self.merger.ledger();
        let figures = |fate: Option<Fate>| {
            let rows = self.added.iter();
            let rows = rows.filter(move |(_, own)| fate.is_none_or(|fate| fate == *own));
            Figures::of(rows.map(|(row, _)| row))
        };
        assert_eq!(Figures::from(&ledger.accepted), figures(None));
        for (tally, fate) in [
            (&self.merger.pending(), Fate::Pending),
            (&ledger.committed, Fate::Committed),
            (&ledger.quarantined, Fate::Quarantined),
            (&ledger.discarded, Fate::Discarded),
        ] {
            assert_eq!(Figures::from(tally), figures(Some(fate)), "{fate:?}");
        }
        for batch in self.merger.batches() {
            let span = batch.previous().0 as usize..batch.last().0 as usize;
            let rows = self.added[span].iter().map(|(row, _)| row);
            assert_eq!(Figures::from(&batch.check().unwrap()), Figures::of(rows));
        }
    }

    fn check_batches(&self) {
        let batches: Vec<_> = self.merger.batches().collect();
        let frozen: Vec<_> = batches
            .iter()
            .take(self.frozen.len())
            .map(|b| fingerprint(b))
            .collect();
        assert_eq!(
            frozen,
            Vec::from(self.frozen.clone()),
            "frozen batches stay as they are"
        );
        let open: usize = batches
            .iter()
            .skip(self.frozen.len())
            .map(|b| b.rows_merged())
            .sum();
        assert_eq!(self.merger.open_rows_merged(), open);
        for batch in batches {
            assert!(
                self.borders.contains(&batch.previous().0)
                    && self.borders.contains(&batch.last().0)
            );
            let groups: Vec<_> = (0..batch.group_count())
                .map(|at| batch.group_rows(at).unwrap().1.0)
                .collect();
            let inside = self
                .borders
                .iter()
                .filter(|b| (batch.first().0..=batch.last().0).contains(b));
            assert_eq!(
                groups,
                inside.copied().collect::<Vec<_>>(),
                "groups are whole"
            );
            check_counts(batch, &self.added);
        }
    }

    /// What is pending, laid over the database, is the row after everything added.
    fn check_found(&self) {
        let mut seen = BTreeSet::new();
        for (row, _) in &self.added {
            let spec = &TABLES[row.table];
            // `log` has no key; for `trades` see `the_first_of_two_rows_of_one_unique_key`.
            if spec.key.is_empty() {
                continue;
            }
            let (id, target, key) = (TableId(row.table as u32), row.target(), row.key_bytes());
            if !seen.insert((target.clone(), key.clone())) {
                continue;
            }
            let of = |database: &Database| {
                let mut rows = database.0.get(&target).into_iter().flatten();
                let is_it = |r: &&Row| {
                    let mut parts = KeyText::new();
                    for k in &spec.key {
                        let Some(Cell::Text(part)) = r.get(&k.column) else {
                            return false;
                        };
                        assert!(Value::Bytes(part).append_key(&mut parts));
                    }
                    parts[..] == key[..]
                };
                rows.rfind(is_it).cloned()
            };
            let mut laid = of(&self.database);
            let mut pending: Option<Row> = None;
            for batch in self.merger.batches() {
                let Some(found) = batch.find(id, target.as_bytes(), &key) else {
                    continue;
                };
                let pending = pending.get_or_insert_default();
                if found.replaces {
                    laid = None;
                    pending.clear();
                }
                if found.columns.is_empty() {
                    continue;
                }
                let columns = found.columns.iter();
                let columns: Vec<_> = columns
                    .map(|(c, v)| (c.name.to_string(), c.role, cell(*v, c.role)))
                    .collect();
                lay_over(pending, &columns);
                lay_over(laid.get_or_insert_default(), &columns);
            }
            assert_eq!(laid, of(&self.now), "{} {:?}", spec.name, row.key);
            let found = self.merger.find(id, target.as_bytes(), &key);
            assert_eq!(
                found.as_ref().map(row_of),
                pending,
                "{} {:?}",
                spec.name,
                row.key
            );
        }
    }
}

/// Rows by table and sums by table and column, without those that are zero.
#[derive(Debug, Default, PartialEq)]
struct Figures {
    rows: BTreeMap<String, u64>,
    sums: BTreeMap<(String, String), BigInt>,
}

impl Figures {
    /// The model's own: every added amount by itself.
    fn of<'a>(rows: impl Iterator<Item = &'a AddedRow>) -> Self {
        let mut figures = Self::default();
        for row in rows {
            let spec = &TABLES[row.table];
            *figures.rows.entry(spec.name.clone()).or_default() += 1;
            row.with_fields(|_, fields| {
                let is_sum = |name: &str| spec.delta.iter().any(|d| d == name);
                for (name, value) in fields.iter().filter(|(name, _)| is_sum(name)) {
                    let Cell::Amount(amount) = cell(CellValue::Value(*value), ColumnRole::Delta)
                    else {
                        panic!("a delta is an amount")
                    };
                    let at = (spec.name.clone(), (*name).to_owned());
                    *figures.sums.entry(at).or_default() += amount;
                }
            });
        }
        figures.sums.retain(|_, sum| *sum != BigInt::from(0));
        figures
    }

    fn from(tally: &Tally) -> Self {
        let mut figures = Self::default();
        for (_, table) in tally.tables() {
            let name = &table.spec.name;
            figures.rows.insert(name.clone(), table.rows);
            for (column, sum) in table.spec.delta.iter().zip(&table.sums) {
                let at = (name.clone(), column.clone());
                figures.sums.insert(at, scaled(sum));
            }
        }
        figures.sums.retain(|_, sum| *sum != BigInt::from(0));
        figures
    }
}

fn row_of(pending: &PendingRow) -> Row {
    let columns = pending.columns.iter().map(|(name, role, value)| {
        let value = match value {
            PendingValue::Null => CellValue::Value(Value::Null),
            PendingValue::Bool(b) => CellValue::Value(Value::Bool(*b)),
            PendingValue::Int(n) => CellValue::Value(Int(*n)),
            PendingValue::Float(x) => CellValue::Value(Value::Float(*x)),
            PendingValue::Bytes(bytes) => CellValue::Value(Value::Bytes(bytes)),
            PendingValue::Sum(sum) => CellValue::Sum(sum),
        };
        (name.clone(), cell(value, *role))
    });
    columns.collect()
}

fn check_counts(batch: &Batch, added: &[(AddedRow, Fate)]) {
    assert_eq!(batch.rows_added(), batch.last().0 - batch.previous().0);
    let mut merged_all = 0;
    for (at, spec) in TABLES.iter().enumerate() {
        let id = TableId(at as u32);
        let span = batch.previous().0 as usize..batch.last().0 as usize;
        let rows = added[span]
            .iter()
            .filter(|(row, _)| row.table == at)
            .count();
        assert_eq!(batch.rows_added_to(id), rows as u64);
        let mut merged = 0;
        for table in batch.tables().filter(|t| t.table_id == id) {
            let operations = batch.operations(table);
            let key = |o: &Operation<'_>| {
                let mut key = columns_of(o);
                key.retain(|(_, role, _)| *role == ColumnRole::Key);
                key.sort_by(|a, b| a.0.cmp(&b.0));
                key
            };
            let mut keys: Vec<_> = operations
                .iter()
                .map(|o| (o.change == Change::Delete, format!("{:?}", key(o))))
                .collect();
            if spec.mode != Mode::Insert {
                // A row deleted and written again is one row.
                let put: BTreeSet<_> = keys
                    .iter()
                    .filter(|(is_delete, _)| !is_delete)
                    .map(|(_, k)| k.clone())
                    .collect();
                keys.retain(|(is_delete, key)| !is_delete || !put.contains(key));
                let distinct: BTreeSet<_> = keys.iter().map(|(_, key)| key).collect();
                assert_eq!(distinct.len(), keys.len(), "one operation a row");
            }
            let in_batch = |o: &Operation<'_>| {
                batch.first() <= o.first && o.first <= o.last && o.last <= batch.last()
            };
            assert!(operations.iter().all(in_batch));
            merged += keys.len();
        }
        assert_eq!(batch.rows_merged_of(id), merged, "{}", spec.name);
        merged_all += merged;
    }
    assert_eq!(batch.rows_merged(), merged_all);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn merging_in_any_order_of_events_is_the_same_as_not_merging(
        actions in prop::collection::vec(action(), 1..30)
    ) {
        let mut world = World::new();
        for action in &actions {
            world.step(action);
            world.check();
        }
        while world.merger.resolved() < world.merger.position() {
            world.step(&Action::Freeze);
            world.step(&Action::Commit);
        }
        world.check();
        prop_assert!(world.added.iter().all(|(_, fate)| *fate != Fate::Pending));
    }

    #[test]
    fn any_split_of_a_batch_does_what_the_whole_does(
        frames in prop::collection::vec(prop::collection::vec(row(), 1..4), 2..12),
        choices in prop::collection::vec(any::<bool>(), 40),
    ) {
        let mut world = World::new();
        world.step(&Action::Add(frames));
        world.step(&Action::Freeze);
        let mut choices = choices.into_iter();
        while world.merger.frozen().is_some() {
            let action = if choices.next().unwrap_or(false) { Action::Split } else { Action::Commit };
            world.step(&action);
            world.check();
        }
    }
}

// ---- tests that tell a story -----------------------------------------------------------

fn values(batch: &Batch) -> Vec<(Change, Vec<Cell>)> {
    let operations = batch.tables().flat_map(|t| batch.operations(t));
    operations
        .map(|o| {
            (
                o.change,
                columns_of(&o).into_iter().map(|(.., c)| c).collect(),
            )
        })
        .collect()
}

fn cell_text(value: &str) -> Cell {
    Cell::Text(value.as_bytes().to_vec())
}

fn key_of(n: i64) -> Vec<u8> {
    let mut key = KeyText::new();
    assert!(Int(n).append_key(&mut key));
    key.into_vec()
}

#[test]
fn orders_5001_and_5002_keep_their_numbers_after_a_failed_flush() {
    // Fault 1 of the PHP buffer: array_merge put them back as orders 0 and 1.
    let mut rows = BatchBuilder::new(vec![spec("orders", Mode::Upsert, &["id"])]);
    let mut merger = Merger::at(Sequence(0));
    for id in [5001, 5002] {
        rows.add("orders", &[("id", Int(id)), ("status", text("pending"))]);
    }
    rows.push_into(&mut merger);
    let failed = merger.freeze().unwrap().unwrap();
    rows.add("orders", &[("id", Int(5003)), ("status", text("pending"))]);
    rows.add("orders", &[("id", Int(5001)), ("status", text("executed"))]);
    rows.push_into(&mut merger);
    let again = merger.frozen().unwrap();
    assert_eq!(fingerprint(again), fingerprint(&failed));
    let status = |id: &str, status: &str| (Change::Upsert, vec![cell_text(id), cell_text(status)]);
    assert_eq!(
        values(again),
        [status("5001", "pending"), status("5002", "pending")]
    );
    merger.resolve(Outcome::Committed);
    let next = merger.freeze().unwrap().unwrap();
    assert_eq!(
        values(&next),
        [status("5001", "executed"), status("5003", "pending")]
    );
}

#[test]
fn a_key_under_two_types_is_one_row() {
    let mut rows = BatchBuilder::new(vec![spec("orders", Mode::Upsert, &["id"])]);
    rows.add("orders", &[("id", Int(5)), ("a", Int(1))]);
    rows.add("orders", &[("b", Int(2)), ("id", text("5"))]);
    let batch = rows.batch();
    assert_eq!(
        values(&batch),
        [(
            Change::Upsert,
            vec![cell_text("5"), Cell::Number(1), Cell::Number(2)]
        )]
    );
    assert_eq!((batch.rows_added(), batch.rows_merged()), (2, 1));
}

#[test]
fn deltas_are_exact_beyond_i128() {
    let mut rows = BatchBuilder::new(vec![delta_spec("accounts", &["id"], &["balance"])]);
    let large = format!("{}.{}", "9".repeat(35), "9".repeat(30));
    for _ in 0..1_000 {
        rows.add("accounts", &[("id", Int(1)), ("balance", text(&large))]);
    }
    rows.add(
        "accounts",
        &[
            ("id", Int(1)),
            ("balance", text("0.000000000000000000000000000001")),
        ],
    );
    let batch = rows.batch();
    let amount = BigInt::from(10).pow(65) * 1_000 - BigInt::from(999);
    assert_eq!(
        values(&batch),
        [(Change::Delta, vec![cell_text("1"), Cell::Amount(amount)])]
    );
}

#[test]
fn many_tenths_make_a_whole() {
    let mut rows = BatchBuilder::new(vec![delta_spec("accounts", &["id"], &["balance"])]);
    for _ in 0..10 {
        rows.add("accounts", &[("id", Int(1)), ("balance", text("0.1"))]);
    }
    rows.add("accounts", &[("id", Int(1)), ("balance", Int(-1))]);
    let batch = rows.batch();
    let operation = &batch.operations(batch.tables().next().unwrap())[0];
    let CellValue::Sum(sum) = operation.values[1] else {
        panic!("a delta is a sum")
    };
    assert!(sum.is_zero(), "{sum}");
}

fn versioned() -> BatchBuilder {
    BatchBuilder::new(vec![TableSpec {
        version: Some("version".to_owned()),
        ..spec("orders", Mode::Upsert, &["id"])
    }])
}

#[test]
fn an_older_version_never_overwrites_a_newer_one_in_the_buffer() {
    let mut rows = versioned();
    for (version, status) in [
        (text("9"), "nine"),
        (Int(10), "ten"),
        (text("9"), "late"),
        (Int(10), "again"),
    ] {
        rows.add(
            "orders",
            &[
                ("id", Int(1)),
                ("status", text(status)),
                ("version", version),
            ],
        );
    }
    let batch = rows.batch();
    assert_eq!(
        values(&batch),
        [(
            Change::Upsert,
            vec![cell_text("1"), cell_text("again"), Cell::Number(10)]
        )]
    );
}

#[test]
fn find_shows_the_newer_version_also_when_it_is_in_an_older_batch() {
    let mut rows = versioned();
    let mut merger = Merger::at(Sequence(0));
    rows.add(
        "orders",
        &[("id", Int(1)), ("status", text("new")), ("version", Int(2))],
    );
    rows.push_into(&mut merger);
    merger.freeze().unwrap();
    rows.add(
        "orders",
        &[
            ("id", Int(1)),
            ("status", text("stale")),
            ("version", Int(1)),
        ],
    );
    rows.push_into(&mut merger);
    let found = merger.find(TableId(0), b"orders", &key_of(1)).unwrap();
    assert_eq!(found.columns[1].2, PendingValue::Bytes(b"new".to_vec()));
}

#[test]
fn an_older_row_that_a_newer_one_covers_in_part() {
    // The database has version 6. Version 5 is stale there, whatever comes later: merged
    // with version 7, which does not give its column, it would ride along with it.
    let mut rows = versioned();
    let mut database = Database::default();
    let mut merger = Merger::at(Sequence(0));
    for (column, value, version) in [("a", "six", 6), ("a", "stale", 5), ("b", "seven", 7)] {
        rows.add(
            "orders",
            &[
                ("id", Int(1)),
                (column, text(value)),
                ("version", Int(version)),
            ],
        );
        rows.push_into(&mut merger);
    }
    while let Some(batch) = merger.freeze().unwrap() {
        database.execute(&batch);
        merger.resolve(Outcome::Committed);
    }
    assert_eq!(database.0["orders"][0]["a"], cell_text("six"));
}

#[test]
fn the_first_of_two_rows_of_one_unique_key_is_the_one_that_is_found() {
    let table = TableSpec {
        unique: names(&["match"]),
        ..spec("trades", Mode::Insert, &[])
    };
    let mut rows = BatchBuilder::new(vec![table]);
    let mut merger = Merger::at(Sequence(0));
    rows.add("trades", &[("match", Int(1)), ("price", text("first"))]);
    rows.add("trades", &[("match", Int(1)), ("price", text("second"))]);
    rows.push_into(&mut merger);
    let found = merger.find(TableId(0), b"trades", &key_of(1)).unwrap();
    assert_eq!(found.columns[1].2, PendingValue::Bytes(b"first".to_vec()));
}

#[test]
fn delete_then_add_replaces_the_row() {
    let mut rows = BatchBuilder::new(vec![spec("orders", Mode::Upsert, &["id"])]);
    rows.add("orders", &[("id", Int(1)), ("a", Int(1)), ("b", Int(1))]);
    rows.delete("orders", &[("id", Int(1))]);
    rows.add("orders", &[("id", Int(1)), ("a", Int(2))]);
    let batch = rows.batch();
    assert_eq!(
        values(&batch),
        [
            (Change::Delete, vec![cell_text("1")]),
            (Change::Upsert, vec![cell_text("1"), Cell::Number(2)])
        ]
    );
    assert_eq!((batch.rows_added(), batch.rows_merged()), (3, 1));
    let found = batch.find(TableId(0), b"orders", &key_of(1)).unwrap();
    assert!(found.replaces);
    assert_eq!(found.columns.len(), 2, "column b is gone");
}

#[test]
fn a_deleted_row_is_found_as_nothing() {
    let mut rows = BatchBuilder::new(vec![spec("events", Mode::Insert, &["id"])]);
    let mut merger = Merger::at(Sequence(0));
    rows.add("events", &[("id", Int(1))]);
    rows.delete("events", &[("id", text("1"))]);
    rows.push_into(&mut merger);
    assert!(
        merger
            .find(TableId(0), b"events", &key_of(1))
            .unwrap()
            .columns
            .is_empty()
    );
    assert_eq!(merger.find(TableId(0), b"events", &key_of(2)), None);
    assert_eq!(
        values(&merger.freeze().unwrap().unwrap()),
        [(Change::Delete, vec![cell_text("1")])]
    );
}

#[test]
fn sums_over_several_batches_are_found_as_one() {
    let mut rows = BatchBuilder::new(vec![delta_spec("accounts", &["id"], &["balance"])]);
    let mut merger = Merger::at(Sequence(0));
    for amount in ["0.1", "0.2", "-1"] {
        rows.add("accounts", &[("id", Int(1)), ("balance", text(amount))]);
        rows.push_into(&mut merger);
        merger.freeze().unwrap();
    }
    let found = merger.find(TableId(0), b"accounts", &key_of(1)).unwrap();
    let PendingValue::Sum(sum) = &found.columns[1].2 else {
        panic!("a delta is a sum")
    };
    assert_eq!(sum.to_string(), "-0.7");
}

#[test]
fn a_full_batch_is_followed_by_another_and_a_hot_key_fills_one_by_its_bytes() {
    let mut rows = BatchBuilder::new(vec![spec("orders", Mode::Upsert, &["id"])]);
    let mut merger = Merger::at(Sequence(0));
    for id in 0..=ROWS_MIN {
        rows.add("orders", &[("id", Int(id as i64)), ("a", Int(1))]);
    }
    rows.push_into(&mut merger);
    assert!(merger.has_full_batch());
    let sizes: Vec<_> = merger.batches().map(Batch::rows_merged).collect();
    assert_eq!(sizes, [ROWS_MIN, 1]);

    let mut merger = Merger::at(rows.last());
    let long = "x".repeat(1 << 20);
    for _ in 0..9 {
        rows.add("orders", &[("id", Int(1)), ("a", text(&long))]);
    }
    rows.push_into(&mut merger);
    let rows: Vec<_> = merger.batches().map(Batch::rows_added).collect();
    assert_eq!(rows, [8, 1]);
}

#[test]
fn a_group_is_whole_in_one_batch_even_when_it_overfills_it() {
    let mut rows = BatchBuilder::new(vec![spec("log", Mode::Insert, &[])]);
    let mut merger = Merger::at(Sequence(0));
    rows.add("log", &[("a", Int(1))]);
    rows.group(|rows| {
        for n in 0..2 * ROWS_MIN {
            rows.add("log", &[("a", Int(n as i64))]);
        }
    });
    rows.add("log", &[("a", Int(1))]);
    rows.push_into(&mut merger);
    let sizes: Vec<_> = merger.batches().map(Batch::rows_merged).collect();
    assert_eq!(sizes, [2 * ROWS_MIN + 1, 1]);
    let batch = merger.freeze().unwrap().unwrap();
    assert_eq!(
        batch.group_rows(1),
        Some((Sequence(2), Sequence(2 * ROWS_MIN as u64 + 1)))
    );
}

#[test]
fn what_is_frozen_survives_a_discard() {
    let mut rows = BatchBuilder::new(vec![spec("log", Mode::Insert, &[])]);
    let mut merger = Merger::at(Sequence(0));
    rows.add("log", &[("a", Int(1))]);
    rows.push_into(&mut merger);
    let frozen = merger.freeze().unwrap().unwrap();
    rows.add("log", &[("a", Int(2))]);
    rows.push_into(&mut merger);
    let dropped = merger.discard(rows.last());
    assert_eq!(dropped.iter().map(|b| b.rows_added()).sum::<u64>(), 1);
    rows.add("log", &[("a", Int(3))]);
    rows.push_into(&mut merger);
    assert_eq!(merger.frozen().map(|b| b.last()), Some(frozen.last()));
    assert_eq!(merger.resolved(), Sequence(0));
    merger.resolve(Outcome::Committed);
    assert_eq!(merger.resolved(), Sequence(2));
    assert_eq!(merger.freeze().unwrap().unwrap().previous(), Sequence(2));
}

#[test]
fn deltas_that_a_deletion_or_a_newer_version_took_away_are_accounted_for() {
    let versioned = TableSpec {
        version: Some("version".to_owned()),
        missing: Missing::Insert,
        ..delta_spec("positions", &["id"], &["size"])
    };
    let mut rows = BatchBuilder::new(vec![
        delta_spec("accounts", &["id"], &["balance"]),
        versioned,
    ]);
    let accounts = |amount| [("id", Int(1)), ("balance", text(amount))];
    rows.add("accounts", &accounts("10.5"));
    rows.add("accounts", &accounts("1"));
    rows.delete("accounts", &[("id", Int(1))]);
    rows.add("accounts", &accounts("0.25"));
    for (version, size) in [(7, "3"), (6, "100"), (7, "-0.5")] {
        rows.add(
            "positions",
            &[
                ("id", Int(1)),
                ("size", text(size)),
                ("version", Int(version)),
            ],
        );
    }
    let batch = rows.batch();
    let figures = batch.check().unwrap();
    let sum = |table| figures.sum(TableId(table), 0).canonical();
    // What is written is 0.25 and 2.5; what was added is all of it.
    assert_eq!((sum(0), sum(1)), ("11.75".to_owned(), "102.5".to_owned()));
    assert_eq!((figures.rows(TableId(0)), figures.rows(TableId(1))), (4, 3));
    let written: Vec<_> = values(&batch).into_iter().map(|(_, cells)| cells).collect();
    let amount = |tenths: i64| Cell::Amount(BigInt::from(tenths) * BigInt::from(10).pow(28));
    assert!(written[1].contains(&amount(25)), "{written:?}");
    assert!(written[2].contains(&amount(250)), "{written:?}");
}

// ---- the quarantine --------------------------------------------------------------------

/// A group that the database may refuse, and what happens before it is added.
#[derive(Debug, Clone)]
struct Sent {
    rows: Vec<AddedRow>,
    is_refused: bool,
    /// What was added before is written first.
    is_next_batch: bool,
    /// A person replays those of the groups in quarantine whose bit is set.
    replayed: u8,
}

fn sent() -> impl Strategy<Value = Sent> {
    let rows = prop::collection::vec(row(), 1..4);
    (rows, 0..5u8, any::<bool>(), 0..8u8, any::<u8>()).prop_map(
        |(rows, refused, is_next_batch, replays, bits)| Sent {
            rows,
            is_refused: refused == 0,
            is_next_batch,
            replayed: if replays == 0 { bits } else { 0 },
        },
    )
}

/// What the worker does, with a database that refuses some groups.
struct Exchange {
    sent: Vec<Sent>,
    rows: BatchBuilder,
    merger: Merger,
    database: Database,
    held: Held<usize>,
    /// Groups in quarantine, by their place in `sent`, each with its rows.
    quarantine: Vec<(usize, Vec<Claim>)>,
    /// How many followed another one.
    followers: usize,
}

impl Exchange {
    fn group(&self, batch: &Batch, at: usize) -> (usize, Vec<Claim>) {
        let first = batch.group_rows(at).unwrap().0.0;
        let mut rows = 0;
        let group = self.sent.iter().position(|sent| {
            rows += sent.rows.len() as u64;
            rows >= first
        });
        let shapes = self.rows.shapes();
        let claims = batch.rows_of_group(at, &shapes);
        (
            group.unwrap(),
            claims.into_iter().map(|row| row.claim).collect(),
        )
    }

    fn write_all(&mut self) {
        while self.merger.freeze().unwrap().is_some() {}
        while let Some(batch) = self.merger.frozen().cloned() {
            let groups: Vec<_> = (0..batch.group_count())
                .map(|at| self.group(&batch, at))
                .collect();
            let shapes = self.rows.shapes();
            let (followers, held) = self.held.followers(groups.clone(), |_| false);
            if !followers.is_empty() && followers.len() < groups.len() {
                let borders = borders(&followers, groups.len());
                self.merger.split_at(&borders, &shapes).unwrap();
            } else if !followers.is_empty() {
                self.held.extend(held);
                self.followers += groups.len();
                self.quarantine.extend(groups);
                self.merger.resolve(Outcome::Quarantined);
            } else if groups.iter().any(|(at, _)| self.sent[*at].is_refused) {
                if groups.len() > 1 {
                    self.merger.split(&shapes).unwrap();
                    continue;
                }
                self.held.add(&groups[0].1, &groups[0].0);
                self.quarantine.extend(groups);
                self.merger.resolve(Outcome::Quarantined);
            } else {
                self.database.execute(&batch);
                self.merger.resolve(Outcome::Committed);
            }
        }
        assert_eq!(self.merger.resolved(), self.merger.position());
    }

    /// Replays those of the bits, in order, but none that stands behind one that stays.
    fn replay(&mut self, bits: u8) {
        let mut stays = Held::default();
        let quarantine = std::mem::take(&mut self.quarantine);
        for (place, (at, claims)) in quarantine.into_iter().enumerate() {
            let is_chosen = bits >> (place % 8) & 1 == 1;
            if is_chosen && stays.holder(&claims).is_none() {
                let rows = self.sent[at].rows.clone();
                rows.iter().for_each(|row| row.apply(&mut self.database));
            } else {
                stays.add(&claims, &at);
                self.quarantine.push((at, claims));
            }
        }
        self.held = stays;
    }

    /// The groups of `sent` that are not in `left_out`, in order.
    fn without(&self, sent: usize, left_out: &[(usize, Vec<Claim>)]) -> Database {
        let mut database = Database::default();
        let there = |at: &usize| !left_out.iter().any(|(out, _)| out == at);
        for at in (0..sent).filter(there) {
            let rows = self.sent[at].rows.iter();
            rows.for_each(|row| row.apply(&mut database));
        }
        database
    }
}

/// Without the order in which rows were appended: those that waited are the last ones.
fn as_sets(database: &Database) -> Database {
    let mut database = database.clone();
    database.0.retain(|_, rows| !rows.is_empty());
    let tables = database.0.values_mut();
    tables.for_each(|rows| rows.sort_by_key(|row| format!("{row:?}")));
    database
}

fn check_quarantine(sent: Vec<Sent>) -> usize {
    let mut world = Exchange {
        rows: BatchBuilder::new(TABLES.clone()),
        merger: Merger::at(Sequence(0)),
        database: Database::default(),
        held: Held::default(),
        quarantine: Vec::new(),
        followers: 0,
        sent,
    };
    for at in 0..world.sent.len() {
        let group = world.sent[at].clone();
        if group.is_next_batch {
            world.write_all();
        }
        if group.replayed != 0 {
            world.write_all();
            world.replay(group.replayed);
        }
        world.rows.group(|rows| {
            for row in &group.rows {
                row.with_fields(|table, fields| match row.delete {
                    true => rows.delete(table, fields),
                    false => rows.add(table, fields),
                });
            }
        });
        world.rows.push_into(&mut world.merger);
    }
    world.write_all();
    let all = world.sent.len();
    assert_eq!(
        as_sets(&world.database),
        as_sets(&world.without(all, &world.quarantine)),
        "the database is the effect of all groups that are not in quarantine"
    );
    world.replay(u8::MAX);
    assert_eq!(world.quarantine.len(), 0, "nothing stands behind nothing");
    assert_eq!(
        as_sets(&world.database),
        as_sets(&world.without(all, &[])),
        "replayed in order, it is as if nothing had been refused"
    );
    world.followers
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn replaying_the_quarantine_is_as_if_nothing_had_been_refused(
        sent in prop::collection::vec(sent(), 1..30)
    ) {
        check_quarantine(sent);
    }
}

#[test]
fn sums_wait_for_nothing_but_what_is_no_sum() {
    let volume = |delete: bool| AddedRow {
        table: 7,
        delete,
        key: 1,
        key_is_text: false,
        currency: false,
        columns: 3,
        numbers: [5, 6, 0],
        fine: false,
        reverse: false,
    };
    let group = |row: AddedRow, is_refused| Sent {
        rows: vec![row],
        is_refused,
        is_next_batch: false,
        replayed: 0,
    };
    let sums = [true, false, false, true, false].map(|refused| group(volume(false), refused));
    assert_eq!(check_quarantine(sums.to_vec()), 0);
    let deleted = [
        group(volume(false), true),
        group(volume(true), false),
        group(volume(false), false),
    ];
    assert_eq!(check_quarantine(deleted.to_vec()), 2);
}
