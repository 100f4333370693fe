//! What a database holds, as far as the simulation looks: orders by key, trades that are
//! appended, accounts that take sums.

use std::collections::BTreeMap;

use write_buffer::core::batch::{Batch, CellValue, Change};
use write_buffer::core::decimal::Decimal;
use write_buffer::core::value::Value;

/// Digits behind the point of every amount here.
const SCALE: u8 = 10;
/// Accounts that exist; a delta to another one is refused.
pub const ACCOUNTS: i64 = 12;
/// The status of an order that is refused.
pub const BAD: &str = "bad";

/// One change of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    Put {
        order: i64,
        columns: Vec<(String, String)>,
    },
    Delete {
        order: i64,
    },
    Insert {
        trade: i64,
    },
    Add {
        account: (String, i64),
        amounts: Vec<(String, i128)>,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    pub orders: BTreeMap<i64, BTreeMap<String, String>>,
    pub trades: BTreeMap<i64, u32>,
    pub accounts: BTreeMap<(String, i64), BTreeMap<String, i128>>,
}

impl Effect {
    /// Whether the database refuses it for good.
    pub fn is_refused(&self) -> bool {
        match self {
            Self::Put { columns, .. } => columns.iter().any(|(_, value)| value == BAD),
            Self::Add { account, .. } => account.1 > ACCOUNTS,
            Self::Delete { .. } | Self::Insert { .. } => false,
        }
    }
}

impl Tables {
    pub fn apply(&mut self, effect: &Effect) {
        match effect {
            Effect::Put { order, columns } => {
                let row = self.orders.entry(*order).or_default();
                row.extend(columns.iter().cloned());
            }
            Effect::Delete { order } => {
                self.orders.remove(order);
            }
            Effect::Insert { trade } => *self.trades.entry(*trade).or_default() += 1,
            Effect::Add { account, amounts } => {
                let row = self.accounts.entry(account.clone()).or_default();
                for (column, amount) in amounts {
                    *row.entry(column.clone()).or_default() += amount;
                }
            }
        }
    }

    /// Where two differ, for people.
    pub fn differences(&self, expected: &Self) -> Vec<String> {
        let mut found = Vec::new();
        differences("order", &self.orders, &expected.orders, &mut found);
        differences("trade", &self.trades, &expected.trades, &mut found);
        differences("account", &self.accounts, &expected.accounts, &mut found);
        found
    }
}

fn differences<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
    what: &str,
    found: &BTreeMap<K, V>,
    expected: &BTreeMap<K, V>,
    into: &mut Vec<String>,
) {
    let mut keys: Vec<_> = found.keys().chain(expected.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let (found, expected) = (found.get(key), expected.get(key));
        if found != expected {
            into.push(format!("{what} {key:?} is {found:?}, not {expected:?}"));
        }
    }
}

/// An exact amount as a whole number of its smallest part.
pub fn units(amount: &Decimal) -> i128 {
    let (unscaled, scale) = amount.to_parts().unwrap();
    unscaled * 10_i128.pow(u32::from(SCALE - scale))
}

fn text(value: Value<'_>) -> String {
    match value {
        Value::Int(n) => n.to_string(),
        Value::Bytes(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        other => format!("{other:?}"),
    }
}

/// What a batch's statements would do.
pub fn effects(batch: &Batch) -> Vec<Effect> {
    let mut effects = Vec::new();
    for table in batch.tables() {
        for operation in batch.operations(table) {
            let columns: Vec<_> = operation
                .columns
                .iter()
                .map(|c| c.name.to_string())
                .zip(operation.values.iter().copied())
                .collect();
            let number = |name: &str| {
                let found = columns.iter().find(|(n, _)| n == name);
                match found {
                    Some((_, CellValue::Value(value))) => text(*value).parse::<i64>().unwrap(),
                    other => panic!("{name} is {other:?}"),
                }
            };
            effects.push(match operation.change {
                Change::Delete => Effect::Delete {
                    order: number("id"),
                },
                Change::Insert => Effect::Insert {
                    trade: number("match_id"),
                },
                Change::Upsert | Change::Update => Effect::Put {
                    order: number("id"),
                    columns: columns
                        .iter()
                        .filter(|(name, _)| name != "id")
                        .map(|(name, value)| match value {
                            CellValue::Value(value) => (name.clone(), text(*value)),
                            CellValue::Sum(sum) => (name.clone(), units(sum).to_string()),
                        })
                        .collect(),
                },
                Change::Delta => Effect::Add {
                    account: (table.name.clone(), number("id")),
                    amounts: columns
                        .iter()
                        .filter_map(|(name, value)| match value {
                            CellValue::Sum(sum) => Some((name.clone(), units(sum))),
                            CellValue::Value(_) => None,
                        })
                        .collect(),
                },
            });
        }
    }
    effects
}
