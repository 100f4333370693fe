//! One operation: its columns, found in the table, and its statements when it comes alone.

use std::fmt::Write;
use std::sync::Arc;

use super::link::Server;
use super::literal::{self, Class};
use super::schema::ColumnKind;
use super::statement::{Form, single};
use super::target::{Target, near};
use crate::core::batch::{CellValue, Change, Operation};
use crate::core::failure::{Failure, FailureKind};
use crate::core::table::{ColumnRole, Missing, Mode};
use crate::core::value::Value;

/// One column of a list, found in the table.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    /// Position in the table.
    pub column: usize,
    /// What it is to the declaration.
    pub role: ColumnRole,
}

/// A list of columns and what can be done with it.
#[derive(Debug)]
pub struct Layout {
    /// The table.
    pub target: Arc<Target>,
    /// What the rows do.
    pub change: Change,
    /// The columns, in the order of the operation's values.
    pub slots: Vec<Slot>,
    /// Columns without which no row can be inserted.
    pub lacking: Vec<String>,
    /// Whether insert-or-update can only meet the row that the key names.
    pub meets_only_its_key: bool,
}

/// An operation with its layout.
#[derive(Debug, Clone)]
pub struct Row<'b> {
    /// The operation.
    pub operation: &'b Operation<'b>,
    /// Its columns.
    pub layout: Arc<Layout>,
}

impl Layout {
    /// Finds an operation's columns.
    ///
    /// # Errors
    /// `Unfit` when the table lacks one.
    pub fn new(target: &Arc<Target>, operation: &Operation<'_>) -> Result<Self, Failure> {
        let table = &target.table;
        let find = |column: &crate::core::table::Column| {
            let found = table.position(&column.name).map(|at| Slot {
                column: at,
                role: column.role,
            });
            found.ok_or_else(|| {
                let hint = near(table, &column.name);
                let message = format!(
                    "Table `{}` has no column `{}`{hint}.",
                    table.name, column.name
                );
                Failure::new(FailureKind::Unfit, message).of_table(target.spec.name.clone())
            })
        };
        let slots = operation
            .columns
            .iter()
            .map(find)
            .collect::<Result<Vec<_>, _>>()?;
        let given: Vec<_> = slots.iter().map(|s| s.column).collect();
        let required = table
            .columns
            .iter()
            .enumerate()
            .filter(|(at, c)| !c.is_optional && !given.contains(at));
        let lacking = required.map(|(_, c)| c.name.clone()).collect();
        let meets_only_its_key = target.meets_only_its_key(&given);
        Ok(Self {
            target: Arc::clone(target),
            change: operation.change,
            slots,
            lacking,
            meets_only_its_key,
        })
    }

    pub(super) fn name(&self, slot: &Slot) -> &str {
        &self.target.table.columns[slot.column].name
    }

    pub(super) fn of_role(&self, role: ColumnRole) -> impl Iterator<Item = (usize, &Slot)> {
        self.slots
            .iter()
            .enumerate()
            .filter(move |(_, slot)| slot.role == role)
    }

    pub(super) fn version(&self) -> Option<(usize, &Slot)> {
        self.of_role(ColumnRole::Version).next()
    }

    /// The columns to set, the version last: what stands right of it sees the new one.
    pub(super) fn assigned(&self) -> impl Iterator<Item = (usize, &Slot)> {
        let plain = self
            .slots
            .iter()
            .enumerate()
            .filter(|(_, s)| matches!(s.role, ColumnRole::Value | ColumnRole::Delta));
        plain.chain(self.of_role(ColumnRole::Version))
    }
}

impl<'b> Row<'b> {
    fn refused(&self, why: &str) -> Failure {
        let spec = &self.layout.target.spec;
        let message = format!(
            "Table `{}`, row {}: {why}.",
            self.layout.target.table.name,
            self.key_text()
        );
        Failure::new(FailureKind::Refused, message).of_table(spec.name.clone())
    }

    /// The key for messages: `id=17`.
    #[must_use]
    pub fn key_text(&self) -> String {
        let keys = self.layout.of_role(ColumnRole::Key).map(|(at, slot)| {
            let value = match &self.operation.values[at] {
                CellValue::Value(value) => literal::shown(value),
                CellValue::Sum(sum) => sum.to_string(),
            };
            format!("{}={value}", self.layout.name(slot))
        });
        let keys: Vec<_> = keys.collect();
        if keys.is_empty() {
            format!("number {}", self.operation.last)
        } else {
            keys.join(", ")
        }
    }

    /// The failure of a row that is not there.
    #[must_use]
    pub fn missing(&self) -> Failure {
        let Layout {
            target,
            change,
            lacking,
            ..
        } = &*self.layout;
        let remedy = match (change, self.may_insert()) {
            (Change::Upsert, _) | (_, true) if !lacking.is_empty() => format!(
                "and cannot be inserted: {} not given and {} no default",
                list(lacking, "is", "are"),
                if lacking.len() == 1 { "has" } else { "have" }
            ),
            (Change::Upsert, _) | (_, true) => {
                "and 0 would be given another number by AUTO_INCREMENT".to_owned()
            }
            _ => "insert it first or declare 'missing' => 'insert'".to_owned(),
        };
        let join = if remedy.starts_with("and") { " " } else { "; " };
        let message = format!(
            "`{}` has no row {}{join}{remedy}.",
            target.table.name,
            self.key_text()
        );
        Failure::new(FailureKind::Refused, message).of_table(target.spec.name.clone())
    }

    /// Whether the declaration lets a missing row be inserted.
    fn may_insert(&self) -> bool {
        let spec = &self.layout.target.spec;
        self.layout.change == Change::Upsert
            || (spec.mode != Mode::Insert && spec.missing == Missing::Insert)
    }

    /// Whether the row can and may be inserted as it is.
    #[must_use]
    pub fn is_insertable(&self) -> bool {
        let columns = &self.layout.target.table.columns;
        let numbered = |(at, slot): (usize, &Slot)| {
            columns[slot.column].is_auto_increment && literal::is_zero(&self.operation.values[at])
        };
        self.may_insert()
            && self.layout.lacking.is_empty()
            && !self.layout.of_role(ColumnRole::Key).any(numbered)
    }

    /// Whether insert-or-update does what upsert promises.
    #[must_use]
    pub fn is_mergeable(&self) -> bool {
        self.layout.change == Change::Upsert
            && self.layout.meets_only_its_key
            && self.is_insertable()
    }

    /// Whether the server alone can compare the key's values.
    #[must_use]
    pub fn identity(&self) -> Option<Vec<u8>> {
        let mut whole = Vec::new();
        for (at, slot) in self.layout.of_role(ColumnRole::Key) {
            let CellValue::Value(value) = &self.operation.values[at] else {
                return None;
            };
            let part = literal::identity(&self.layout.target.table.columns[slot.column], value)?;
            whole.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            whole.extend_from_slice(&part);
        }
        Some(whole)
    }

    /// Whether no other plain key is the same row to the server.
    #[must_use]
    pub fn has_plain_key(&self) -> bool {
        self.layout
            .of_role(ColumnRole::Key)
            .all(|(at, slot)| match &self.operation.values[at] {
                CellValue::Value(value) => {
                    literal::is_plain_key(&self.layout.target.table.columns[slot.column], value)
                }
                CellValue::Sum(_) => false,
            })
    }

    /// Whether a derived table can hold the key: the server would turn characters that the
    /// column's character set lacks into question marks, and meet another row.
    fn joins(&self) -> bool {
        self.layout.of_role(ColumnRole::Key).all(|(at, slot)| {
            let column = &self.layout.target.table.columns[slot.column];
            match (&self.operation.values[at], column.kind) {
                (CellValue::Value(Value::Bytes(bytes)), ColumnKind::Text) => {
                    bytes.is_ascii() || column.charset.as_deref() == Some("utf8mb4")
                }
                (_, ColumnKind::Other | ColumnKind::Float) => false,
                _ => true,
            }
        }) && self.layout.version().is_none_or(|(_, slot)| {
            !matches!(
                self.layout.target.table.columns[slot.column].kind,
                ColumnKind::Other | ColumnKind::Text
            )
        })
    }

    pub(super) fn stored(&self, at: usize, out: &mut String) -> Result<Class, Failure> {
        let column = &self.layout.target.table.columns[self.layout.slots[at].column];
        literal::store(column, &self.operation.values[at], out).map_err(|why| self.refused(&why))
    }

    pub(super) fn compared(&self, at: usize, out: &mut String) -> Result<Class, Failure> {
        let column = &self.layout.target.table.columns[self.layout.slots[at].column];
        match &self.operation.values[at] {
            CellValue::Value(value) => {
                literal::compared(column, value, out).map_err(|why| self.refused(&why))
            }
            CellValue::Sum(_) => Err(self.refused("a key is no sum")),
        }
    }

    pub(super) fn values(&self, out: &mut String) -> Result<(), Failure> {
        for at in 0..self.layout.slots.len() {
            if at > 0 {
                out.push(',');
            }
            self.stored(at, out)?;
        }
        Ok(())
    }

    fn where_key(&self, out: &mut String) -> Result<(), Failure> {
        out.push_str(" WHERE ");
        for (n, (at, slot)) in self.layout.of_role(ColumnRole::Key).enumerate() {
            if n > 0 {
                out.push_str(" AND ");
            }
            let _ = write!(out, "`{}`=", self.layout.name(slot));
            self.compared(at, out)?;
        }
        Ok(())
    }

    /// `UPDATE … WHERE key`, older versions left alone.
    ///
    /// # Errors
    /// `Refused` when a value does not suit its column.
    pub fn update(&self) -> Result<String, Failure> {
        let mut sql = format!("UPDATE `{}` SET ", self.layout.target.table.name);
        let mut assigned = 0;
        for (at, slot) in self.layout.assigned() {
            let name = self.layout.name(slot);
            let comma = if assigned > 0 { "," } else { "" };
            assigned += 1;
            let _ = write!(sql, "{comma}`{name}`=");
            if slot.role == ColumnRole::Delta {
                let column = &self.layout.target.table.columns[slot.column];
                sql.push_str(&added_to(name, column.is_nullable));
                sql.push('+');
                if matches!(self.operation.values[at], CellValue::Value(_)) {
                    sql.push('0');
                    continue;
                }
            }
            self.stored(at, &mut sql)?;
        }
        if assigned == 0 {
            // An upsert of nothing but a key: it is there or it is not.
            let name = self
                .layout
                .of_role(ColumnRole::Key)
                .next()
                .map_or("", |(_, slot)| self.layout.name(slot));
            let _ = write!(sql, "`{name}`=`{name}`");
        }
        self.where_key(&mut sql)?;
        if let Some((at, slot)) = self.layout.version() {
            let name = self.layout.name(slot);
            let _ = write!(sql, " AND (`{name}` IS NULL OR `{name}`<=");
            self.compared(at, &mut sql)?;
            sql.push(')');
        }
        Ok(sql)
    }

    /// Counts the rows with the key, under a lock.
    ///
    /// # Errors
    /// `Refused` when a value does not suit its column.
    pub fn count(&self) -> Result<String, Failure> {
        let mut sql = format!("SELECT COUNT(*) FROM `{}`", self.layout.target.table.name);
        self.where_key(&mut sql)?;
        sql.push_str(" FOR UPDATE");
        Ok(sql)
    }

    /// The statement for this row alone that needs no look at what is there.
    ///
    /// # Errors
    /// `Refused` when a value does not suit its column.
    pub fn alone(&self, server: &Server) -> Result<String, Failure> {
        match self.layout.change {
            Change::Delete => {
                let mut sql = format!("DELETE FROM `{}`", self.layout.target.table.name);
                self.where_key(&mut sql)?;
                Ok(sql)
            }
            Change::Insert => single(Form::Insert, self, server),
            Change::Upsert if self.is_mergeable() => single(Form::Merge, self, server),
            _ => self.update(),
        }
    }

    /// `INSERT` of this row.
    ///
    /// # Errors
    /// `Refused` when a value does not suit its column.
    pub fn insert(&self, server: &Server) -> Result<String, Failure> {
        single(Form::Insert, self, server)
    }

    /// Which statement of many rows this row can be part of.
    #[must_use]
    pub fn form(&self) -> Option<Form> {
        match self.layout.change {
            Change::Delete => Some(Form::Delete),
            Change::Insert => Some(Form::Insert),
            Change::Upsert if self.is_mergeable() => Some(Form::Merge),
            _ => self.joins().then_some(Form::Update),
        }
    }
}

fn list(names: &[String], one: &str, many: &str) -> String {
    let quoted: Vec<_> = names.iter().map(|n| format!("`{n}`")).collect();
    format!(
        "{} {}",
        quoted.join(", "),
        if names.len() == 1 { one } else { many }
    )
}

fn added_to(name: &str, is_nullable: bool) -> String {
    if is_nullable {
        format!("IFNULL(`{name}`,0)")
    } else {
        format!("`{name}`")
    }
}
