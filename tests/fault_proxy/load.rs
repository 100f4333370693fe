//! What the buffer is given, and what must come of it: groups like those of an exchange.
//!
//! A group is seven rows: a trade, which nothing but exactly one write keeps single; the
//! states of two orders; four changes of balances, which add up to nothing.

use super::plan::Random;

pub const ROWS_OF_A_GROUP: u64 = 7;
const ORDERS: u64 = 40;
pub const ACCOUNTS: u64 = 12;
const SCALE: usize = 18;

/// A number with 18 decimals, counted in the last of them.
pub type Amount = i128;

/// What a group says; its number is that of its trade.
#[derive(Debug, Clone)]
pub struct Group {
    /// Its trade has no price, so the database refuses the group, or it stands behind one
    /// that was refused; nothing of it counts.
    pub refused: bool,
    pub price: Amount,
    /// Order, and how much of it is filled.
    pub orders: [(u64, Amount); 2],
    /// Account, and by how much its balance and its available balance change.
    pub changes: [(u64, Amount, Amount); 4],
}

/// What the tables must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Number and price of each trade, in the order of their rows.
    pub trades: Vec<(u64, Amount)>,
    /// Number, number of the group that came last, and how much is filled.
    pub orders: Vec<(u64, u64, Amount)>,
    /// Number, balance and available balance.
    pub accounts: Vec<(u64, Amount, Amount)>,
}

impl Group {
    pub fn draw(random: &mut Random) -> Self {
        let mut amount = || {
            // Up to 10^13 with all 18 decimals: no double holds it, and the column holds the
            // sum of ten thousand.
            let whole = random.below(10_000_000_000_000) as Amount;
            whole * 1_000_000_000_000_000_000 + random.below(1_000_000_000_000_000_000) as Amount
        };
        let (price, base, quote) = (amount(), amount(), amount());
        let taker = random.below(ORDERS);
        // Two orders of a group may be one: the second state wins.
        let maker = random.below(ORDERS);
        let mut account = || random.below(ACCOUNTS);
        Self {
            refused: false,
            price,
            orders: [(taker, base), (maker, quote)],
            changes: [
                (account(), base, 0),
                (account(), -base, -1),
                (account(), quote, 1),
                (account(), -quote, -quote),
            ],
        }
    }
}

impl State {
    /// After the first `groups`.
    pub fn after(groups: &[Group]) -> Self {
        let mut orders = std::collections::BTreeMap::new();
        let mut accounts: Vec<_> = (0..ACCOUNTS).map(|id| (id, 0, 0)).collect();
        let mut trades = Vec::new();
        for (number, group) in (1..).zip(groups).filter(|(_, group)| !group.refused) {
            trades.push((number, group.price));
            for (id, filled) in group.orders {
                orders.insert(id, (id, number, filled));
            }
            for (id, balance, available) in group.changes {
                accounts[id as usize].1 += balance;
                accounts[id as usize].2 += available;
            }
        }
        Self {
            trades,
            orders: orders.into_values().collect(),
            accounts,
        }
    }
}

pub fn to_text(amount: Amount) -> String {
    let digits = format!("{:0>width$}", amount.unsigned_abs(), width = SCALE + 1);
    let (whole, decimals) = digits.split_at(digits.len() - SCALE);
    let sign = if amount < 0 { "-" } else { "" };
    format!("{sign}{whole}.{decimals}")
}

pub fn from_text(text: &str) -> Amount {
    let (_, decimals) = text.split_once('.').unwrap();
    assert_eq!(decimals.len(), SCALE, "{text}");
    text.replace('.', "").parse().unwrap()
}

#[test]
fn amounts_are_texts_and_back() {
    for amount in [0, 1, -1, 10_i128.pow(18), -3 * 10_i128.pow(30) - 7] {
        assert_eq!(from_text(&to_text(amount)), amount);
    }
    assert_eq!(to_text(-1), "-0.000000000000000001");
}
