//! Accounting that is wrong is found, whichever figure it is: rows that lie are made by hand.

use super::cells::Cells;
use super::rows::{InsertedRow, Put};
use super::*;
use crate::core::config::predeclared_tables;
use crate::core::frame::{HEADER_LEN, encode_header, encode_length, encode_row, frame_len};
use crate::core::ledger::{Fate, Ledger};
use crate::core::merge::{Merger, SplitError};
use crate::core::table::{Catalog, ShapeId};

const ORDERS: TableId = TableId(0);
const TRADES: TableId = TableId(1);
const BALANCES: TableId = TableId(2);

/// Rows of the predeclared tables as a log: each a frame of its own.
struct Log {
    catalog: Catalog,
    bytes: Vec<u8>,
    offsets: Vec<usize>,
}

impl Log {
    fn new() -> Self {
        Self {
            catalog: Catalog::new(predeclared_tables()),
            bytes: Vec::new(),
            offsets: Vec::new(),
        }
    }

    fn row(&mut self, table: TableId, kind: RowKind, fields: &[(&str, Value<'_>)]) -> &mut Self {
        let names: Vec<_> = fields.iter().map(|(name, _)| name.as_bytes()).collect();
        let values: Vec<_> = fields.iter().map(|(_, value)| *value).collect();
        let shape = self.catalog.shape_of(table, kind, &names).unwrap();
        let row = encode_row(shape.id, &values);
        let (start, length) = (self.bytes.len(), row.len());
        self.offsets.push(start);
        self.bytes.resize(start + frame_len(length), 0);
        let sequence = Sequence(self.offsets.len() as u64);
        let frame = &mut self.bytes[start..];
        encode_header(frame, FrameKind::Rows, sequence, 1);
        frame[HEADER_LEN..HEADER_LEN + length].copy_from_slice(&row);
        encode_length(frame, length);
        self
    }

    fn balance(&mut self, user: i64, amount: &str) -> &mut Self {
        let [user, usd] = [("user_id", Value::Int(user)), ("currency", text("usd"))];
        self.row(
            BALANCES,
            RowKind::Put,
            &[user, usd, ("balance", text(amount))],
        )
    }

    fn merger(&self) -> (Merger, Vec<Arc<Shape>>) {
        let shapes: Vec<_> = (0..)
            .map_while(|id| self.catalog.shape(ShapeId(id)).cloned())
            .collect();
        let source: LogBytes = Arc::new(self.bytes.clone());
        let mut merger = Merger::at(Sequence(0));
        for offset in &self.offsets {
            merger.push(&source, *offset, &shapes).unwrap();
        }
        (merger, shapes)
    }
}

fn text(text: &str) -> Value<'_> {
    Value::Bytes(text.as_bytes())
}

/// Seven rows: an order twice, a trade, four deltas of two accounts, of which two are superseded.
fn log() -> Log {
    let mut log = Log::new();
    for status in ["new", "executed"] {
        let status = ("status", text(status));
        log.row(ORDERS, RowKind::Put, &[("id", Value::Int(1)), status]);
    }
    log.row(TRADES, RowKind::Put, &[("price", text("1"))]);
    log.balance(7, "1.5").balance(7, "2").balance(8, "-0.25");
    let usd = ("currency", text("usd"));
    log.row(
        BALANCES,
        RowKind::Delete,
        &[("user_id", Value::Int(8)), usd],
    );
    log
}

impl Batch {
    /// Merging lost something: a delta, or where there is none, all rows.
    pub(crate) fn spoil(&mut self) {
        let mut sums = self.tables.iter_mut().flat_map(|t| &mut t.superseded);
        match sums.next() {
            Some(sum) => sum.add_assign(&Decimal::from_parts(-1, 0)),
            None => self.tables.clear(),
        }
    }
}

fn balances(batch: &mut Batch) -> &mut TableBatch {
    let mut tables = batch.tables.iter_mut();
    tables.find(|t| t.table_id == BALANCES).unwrap()
}

fn first_cells(batch: &mut Batch) -> &mut Cells {
    match &mut balances(batch).keyed[0].put {
        Put::Merged(cells) => cells,
        other => panic!("{other:?} has no sums"),
    }
}

#[test]
fn what_adds_up_is_frozen_split_and_resolved() {
    let (mut merger, shapes) = log().merger();
    merger.freeze().unwrap().unwrap();
    merger.split(&shapes).unwrap();
    merger.resolve(Fate::Quarantined).unwrap();
    merger.check().unwrap();
    merger.resolve(Fate::Committed).unwrap();
    merger.check().unwrap();
    let Ledger {
        committed,
        quarantined,
        ..
    } = merger.ledger();
    assert_eq!((quarantined.rows_of_all(), committed.rows_of_all()), (3, 4));
    assert_eq!(committed.sum(BALANCES, 0).canonical(), "3.25");
}

#[test]
fn a_batch_that_does_not_add_up_is_not_frozen_and_stays() {
    type Spoil = fn(&mut Batch);
    let spoils: [(Spoil, &str); 9] = [
        (
            |b| first_cells(b).sums[0] = Decimal::from_parts(1, 0),
            "rows 1 to 7 do not add up: table \"balances\", sum of column \"balance\": 3.25 as added, 0.75 as merged; this is a bug in write_buffer",
        ),
        (
            |b| balances(b).keyed[0].put = Put::Nothing,
            "3.25 as added, -0.25 as merged",
        ),
        (
            |b| balances(b).superseded[0] = Decimal::ZERO,
            "3.25 as added, 3.5 as merged",
        ),
        (
            // Ten to the minus thirty matters, too.
            |b| balances(b).superseded[1] = Decimal::from_parts(1, 30),
            "sum of column \"available_balance\": 0 as added, 0.000000000000000000000000000001 as merged",
        ),
        (
            |b| balances(b).keyed[0].rows = 1,
            "table \"balances\", number of rows: 4 as added, 3 as merged",
        ),
        (
            |b| drop(balances(b).keyed.shift_remove_index(1)),
            "table \"balances\", number of rows: 4 as added, 2 as merged",
        ),
        (
            |b| b.tables[1].inserted[0] = None,
            "table \"trades\", number of rows: 1 as added, 0 as merged",
        ),
        (
            |b| b.tables.truncate(0),
            "table \"orders\", number of rows: 2 as added, 0 as merged",
        ),
        (
            |b| b.last = Sequence(8),
            "rows 1 to 8 do not add up: all tables, number of rows: 8 as added, 7 as merged",
        ),
    ];
    for (spoil, expected) in spoils {
        let (mut merger, _) = log().merger();
        spoil(merger.open_mut().unwrap());
        let imbalance = merger.freeze().unwrap_err().to_string();
        assert!(imbalance.contains(expected), "{imbalance}");
        assert!(merger.frozen().is_none());
        assert_eq!(merger.batches().count(), 1, "it is pending still");
    }
}

#[test]
fn halves_that_are_not_the_whole_do_not_replace_it() {
    let (mut merger, shapes) = log().merger();
    let batch = merger.open_mut().unwrap();
    // The whole adds up, in itself, and has a row that its groups do not have.
    let added = batch.added.clone();
    let spec = &added.table(TRADES).unwrap().spec;
    batch.added.table_mut(TRADES, spec).rows = 2;
    let row = batch.tables[1].inserted[0].as_ref().unwrap();
    let twice = InsertedRow {
        sequence: row.sequence,
        shape: row.shape,
        values: row.values,
    };
    batch.tables[1].inserted.push(Some(twice));
    batch.last = Sequence(8);
    merger.freeze().unwrap().unwrap();
    let refused = merger.split(&shapes).unwrap_err();
    assert!(
        matches!(&refused, SplitError::Imbalance(i) if i.to_string().contains(
            "rows 1 to 8 do not add up: table \"trades\", number of rows: 2 in the batch, 1 in its halves"
        )),
        "{refused}"
    );
    assert_eq!(merger.frozen().map(|b| b.group_count()), Some(7));
}

#[test]
fn a_batch_that_is_lost_or_there_twice_is_missed() {
    type Spoil = fn(&mut Merger);
    let spoils: [(Spoil, &str); 3] = [
        (
            |m| drop(m.forget_open()),
            "the rows accepted so far do not add up: table \"orders\", number of rows: 2 accepted, 0 committed, in quarantine, discarded or pending",
        ),
        (
            // As if `clear` dropped what is being written.
            |m| {
                let figures = m.frozen().unwrap().check().unwrap();
                m.ledger_mut().discarded.add(&figures);
            },
            "2 accepted, 4 committed",
        ),
        (
            |m| {
                let accepted = m.ledger().accepted.clone();
                let spec = &accepted.table(BALANCES).unwrap().spec;
                m.ledger_mut().committed.table_mut(BALANCES, spec).sums[2] =
                    Decimal::from_parts(-1, 18);
            },
            "table \"balances\", sum of column \"usd_amount\": 0 accepted, -0.000000000000000001 committed",
        ),
    ];
    for (spoil, expected) in spoils {
        let (mut merger, _) = log().merger();
        merger.check().unwrap();
        if !expected.contains(" 0 committed") {
            merger.freeze().unwrap().unwrap();
        }
        spoil(&mut merger);
        for found in [merger.check(), merger.audit()] {
            let imbalance = found.unwrap_err().to_string();
            assert!(imbalance.contains(expected), "{imbalance}");
        }
    }
}
