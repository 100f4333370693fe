//! Which rows wait behind rows in quarantine.
//!
//! Two changes of one row of the database *commute* when both only add to columns. Any
//! other two do not: one of them must be first. A group with a row that does not commute
//! with a row in quarantine follows it there, whole, and holds back later ones in turn.
//! So what is written is the effect of all groups that are not in quarantine, each key's
//! history without gaps, and replaying the quarantine in order gives what would have been
//! without the refusal.
//!
//! A row whose declaration names no key is independent of all others.

use std::collections::HashMap;

/// The row of the database that a change is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The database table, its template filled in.
    pub table: String,
    /// Key columns in byte order, each with the text of its value; empty when the
    /// declaration names no row.
    pub key: Vec<(String, Vec<u8>)>,
    /// Whether the change only adds to columns.
    pub is_sum: bool,
}

/// Rows that are held back, by who does it.
#[derive(Debug, Clone)]
pub struct Held<T> {
    tables: HashMap<String, Vec<HeldKeys<T>>>,
    keys: usize,
}

/// Rows of one table that are named by the same columns.
#[derive(Debug, Clone)]
struct HeldKeys<T> {
    columns: Vec<String>,
    rows: HashMap<Vec<u8>, Holders<T>>,
    /// Of all these rows: a declaration with another key may mean any of them.
    all: Holders<T>,
}

/// The first holders of a row.
#[derive(Debug, Clone)]
struct Holders<T> {
    sum: Option<T>,
    other: Option<T>,
}

/// Why a group is not to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason<T> {
    /// It is in quarantine already.
    Stored,
    /// A row of it does not commute with one of that group.
    Behind(T, Claim),
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self {
            tables: HashMap::new(),
            keys: 0,
        }
    }
}

impl<T> Default for Holders<T> {
    fn default() -> Self {
        Self {
            sum: None,
            other: None,
        }
    }
}

impl<T: Clone> Holders<T> {
    fn add(&mut self, claim: &Claim, holder: &T) {
        let place = if claim.is_sum {
            &mut self.sum
        } else {
            &mut self.other
        };
        place.get_or_insert_with(|| holder.clone());
    }

    fn of(&self, claim: &Claim) -> Option<&T> {
        let sum = self.sum.as_ref().filter(|_| !claim.is_sum);
        self.other.as_ref().or(sum)
    }
}

impl<T: Clone> Held<T> {
    /// Whether nothing is held back.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys == 0
    }

    /// How many rows of the database are held back.
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.keys
    }

    /// A group in quarantine, `holder`, holds back what does not commute with these rows.
    pub fn add<'a>(&mut self, claims: impl IntoIterator<Item = &'a Claim>, holder: &T) {
        for claim in claims.into_iter().filter(|claim| !claim.key.is_empty()) {
            let same = self.tables.entry(fold_name(&claim.table)).or_default();
            let columns = columns(claim);
            let at = same.iter().position(|keys| keys.columns == columns);
            let at = at.unwrap_or_else(|| {
                same.push(HeldKeys {
                    columns,
                    rows: HashMap::new(),
                    all: Holders::default(),
                });
                same.len() - 1
            });
            same[at].all.add(claim, holder);
            let before = same[at].rows.len();
            let row = same[at].rows.entry(fold_key(claim)).or_default();
            row.add(claim, holder);
            self.keys += same[at].rows.len() - before;
        }
    }

    /// Who holds one of these rows back, and which.
    pub fn holder<'a>(
        &self,
        claims: impl IntoIterator<Item = &'a Claim>,
    ) -> Option<(&T, &'a Claim)> {
        if self.is_empty() {
            return None;
        }
        let claims = claims.into_iter().filter(|claim| !claim.key.is_empty());
        claims.into_iter().find_map(|claim| {
            let same = self.tables.get(&fold_name(&claim.table))?;
            let columns = columns(claim);
            let holder = same.iter().find_map(|keys| {
                let holders = if keys.columns == columns {
                    keys.rows.get(&fold_key(claim))
                } else {
                    Some(&keys.all)
                };
                holders?.of(claim)
            });
            Some((holder?, claim))
        })
    }

    /// Which of these groups, given in order, are not to be written, and why; and the rows
    /// that those hold back in turn. `is_stored` says whether a group is in quarantine already.
    pub fn followers(
        &self,
        groups: impl IntoIterator<Item = (T, Vec<Claim>)>,
        is_stored: impl Fn(&T) -> bool,
    ) -> (Vec<(usize, Reason<T>)>, Self) {
        let mut followers = Vec::new();
        let mut own = Self::default();
        for (at, (group, claims)) in groups.into_iter().enumerate() {
            let holder = self.holder(&claims).or_else(|| own.holder(&claims));
            let reason = match holder {
                _ if is_stored(&group) => Reason::Stored,
                Some((holder, claim)) => Reason::Behind(holder.clone(), claim.clone()),
                None => continue,
            };
            followers.push((at, reason));
            own.add(&claims, &group);
        }
        (followers, own)
    }

    /// Takes in what another set holds back; where both do, this one did it first.
    pub fn extend(&mut self, later: Self) {
        for (table, all_keys) in later.tables {
            let same = self.tables.entry(table).or_default();
            for keys in all_keys {
                let Some(mine) = same.iter_mut().find(|mine| mine.columns == keys.columns) else {
                    self.keys += keys.rows.len();
                    same.push(keys);
                    continue;
                };
                let before = mine.rows.len();
                mine.all.extend(keys.all);
                for (key, holders) in keys.rows {
                    mine.rows.entry(key).or_default().extend(holders);
                }
                self.keys += mine.rows.len() - before;
            }
        }
    }
}

/// Where in a batch of `count` groups runs of those that follow begin and end.
#[must_use]
pub fn borders<T>(followers: &[(usize, Reason<T>)], count: usize) -> Vec<usize> {
    let follows = |at: usize| followers.binary_search_by_key(&at, |(at, _)| *at).is_ok();
    (1..count)
        .filter(|at| follows(*at) != follows(at - 1))
        .collect()
}

impl<T> Holders<T> {
    fn extend(&mut self, later: Self) {
        self.sum = self.sum.take().or(later.sum);
        self.other = self.other.take().or(later.other);
    }
}

impl std::fmt::Display for Claim {
    /// For people: `orders, key 5`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        /// A key may be a text of any length.
        const SHOWN: usize = 60;
        write!(f, "{}, key ", self.table)?;
        for (at, (_, value)) in self.key.iter().enumerate() {
            let text = String::from_utf8_lossy(value);
            let text: String = text.chars().filter(|c| !c.is_control()).collect();
            let cut: String = text.chars().take(SHOWN).collect();
            let more = if cut.len() < text.len() { "…" } else { "" };
            write!(f, "{}{cut}{more}", if at > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

fn columns(claim: &Claim) -> Vec<String> {
    claim.key.iter().map(|(c, _)| fold_name(c)).collect()
}

/// Some databases take two spellings of a table or column for one; holding back too much
/// only costs time.
fn fold_name(name: &str) -> String {
    name.to_ascii_lowercase()
}

fn fold_key(claim: &Claim) -> Vec<u8> {
    let mut key = Vec::with_capacity(16 * claim.key.len());
    for (_, value) in &claim.key {
        let part = fold_value(value);
        key.extend_from_slice(&part.len().to_le_bytes());
        key.extend_from_slice(&part);
    }
    key
}

/// A text that is the same for all spellings that a database may take for one key: `5`,
/// `05` and `5.0`, `a` and `A `. Numbers that differ past a float's digits are one, too.
fn fold_value(value: &[u8]) -> Vec<u8> {
    let text = value.trim_ascii();
    let is_number = text
        .iter()
        .all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
    let number = std::str::from_utf8(text).ok().filter(|_| is_number);
    if let Some(number) = number.and_then(|text| text.parse::<f64>().ok()) {
        // -0 is 0.
        return (number + 0.0).to_bits().to_le_bytes().to_vec();
    }
    let mut text: Vec<u8> = text.to_ascii_lowercase();
    text.retain(|b| !b.is_ascii_control());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(table: &str, key: &[(&str, &str)], is_sum: bool) -> Claim {
        let key = key.iter();
        let key = key.map(|(c, v)| ((*c).to_owned(), v.as_bytes().to_vec()));
        Claim {
            table: table.to_owned(),
            key: key.collect(),
            is_sum,
        }
    }

    fn order(id: &str) -> Claim {
        claim("orders", &[("id", id)], false)
    }

    fn sum(id: &str) -> Claim {
        claim("accounts", &[("id", id)], true)
    }

    #[test]
    fn sums_pass_sums_and_nothing_else() {
        let mut held = Held::default();
        held.add(&[sum("7")], &1);
        assert_eq!(held.holder(&[sum("7")]), None);
        let set = claim("accounts", &[("id", "7")], false);
        assert_eq!(held.holder(std::slice::from_ref(&set)), Some((&1, &set)));
        held.add(&[set], &2);
        assert_eq!(held.holder(&[sum("7")]).map(|(by, _)| *by), Some(2));
        assert_eq!(held.holder(&[sum("8")]), None);
        assert_eq!(held.key_count(), 1);
    }

    #[test]
    fn spellings_that_a_database_may_take_for_one_are_one() {
        let mut held = Held::default();
        held.add(&[order("5"), order("btc")], &1);
        for same in ["05", "5.0", " 5 ", "BTC", "btc "] {
            assert!(held.holder(&[order(same)]).is_some(), "{same}");
        }
        assert!(held.holder(&[order("6"), order("bt")]).is_none());
        let other = claim("ORDERS", &[("ID", "5")], false);
        assert!(held.holder(&[other]).is_some());
    }

    #[test]
    fn rows_without_a_key_are_independent_and_those_with_another_may_be_any() {
        let mut held = Held::default();
        held.add(&[claim("orders", &[], false)], &1);
        assert!(held.is_empty());
        held.add(&[order("5")], &1);
        assert!(held.holder(&[claim("orders", &[], false)]).is_none());
        let by_name = claim("orders", &[("name", "x")], false);
        assert!(held.holder(&[by_name]).is_some());
    }

    #[test]
    fn what_follows_holds_back_what_comes_after_it() {
        let mut held = Held::default();
        held.add(&[order("5")], &1);
        let groups = [
            (10, vec![order("6")]),
            (11, vec![sum("7"), order("5")]),
            (12, vec![sum("7")]),
            (
                13,
                vec![order("8"), claim("accounts", &[("id", "7")], false)],
            ),
            (14, vec![order("8")]),
            (15, vec![sum("9")]),
        ];
        let (followers, own) = held.followers(groups.clone(), |_| false);
        let found = followers.iter().map(|(at, reason)| match reason {
            Reason::Behind(holder, claim) => (*at, *holder, claim.to_string()),
            Reason::Stored => panic!("nothing is stored"),
        });
        let expected = [
            (1, 1, "orders, key 5"),
            (3, 11, "accounts, key 7"),
            (4, 13, "orders, key 8"),
        ];
        let expected = expected.map(|(at, by, text)| (at, by, text.to_owned()));
        assert_eq!(found.collect::<Vec<_>>(), expected);
        assert_eq!(borders(&followers, groups.len()), [1, 2, 3, 5]);
        held.extend(own);
        assert_eq!(held.holder(&[order("8")]).map(|(by, _)| *by), Some(13));
        assert_eq!(held.key_count(), 3);
        let (followers, _) = Held::default().followers(groups, |group| *group == 10);
        assert_eq!(followers, [(0, Reason::Stored)]);
    }
}
