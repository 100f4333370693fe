//! Groups in quarantine that PHP code wants to be told of, kept until it comes by.

use std::collections::VecDeque;

/// Groups that are kept.
const GROUPS_MAX: usize = 1_000;
/// So many of them may stand behind others: one key can hold back thousands.
const FOLLOWERS_MAX: usize = 500;
/// Bytes of their lines; a single group may be larger.
const BYTES_MAX: usize = 4 << 20;

/// A group that went to quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its line, as in the quarantine's file.
    pub line: String,
    /// Whether it was not refused, but stands behind one that was.
    pub is_follower: bool,
    /// Groups right after it that there was no place for.
    pub missed: u64,
}

/// What nobody was told yet; nothing at all as long as nobody wants to be told.
#[derive(Debug, Default)]
pub struct News {
    is_wanted: bool,
    groups: VecDeque<Told>,
    bytes: usize,
}

impl News {
    /// From now on groups are kept.
    pub fn want(&mut self) {
        self.is_wanted = true;
    }

    /// How many groups are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there is no news.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// A group went to quarantine. At a bound the oldest are kept, and the others counted.
    pub fn push(&mut self, line: String, is_follower: bool) {
        if !self.is_wanted {
            return;
        }
        let bound = if is_follower {
            FOLLOWERS_MAX
        } else {
            GROUPS_MAX
        };
        let has_place = self.len() < bound && self.bytes + line.len() <= BYTES_MAX;
        match self.groups.back_mut() {
            Some(last) if !has_place => last.missed += 1,
            _ => {
                self.bytes += line.len();
                self.groups.push_back(Told {
                    line,
                    is_follower,
                    missed: 0,
                });
            }
        }
    }

    /// The oldest group, which is told once.
    pub fn take(&mut self) -> Option<Told> {
        let told = self.groups.pop_front()?;
        self.bytes -= told.line.len();
        Some(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(news: &mut News) -> Vec<(usize, u64)> {
        std::iter::from_fn(|| news.take())
            .map(|told| (told.line.len(), told.missed))
            .collect()
    }

    #[test]
    fn nothing_is_kept_that_nobody_wants() {
        let mut news = News::default();
        news.push("a".to_owned(), false);
        assert!(news.is_empty());
    }

    #[test]
    fn at_a_bound_the_first_are_told_and_the_others_counted() {
        let mut news = News::default();
        news.want();
        (0..FOLLOWERS_MAX + 7).for_each(|_| news.push("a".to_owned(), true));
        assert_eq!(news.len(), FOLLOWERS_MAX);
        (0..GROUPS_MAX).for_each(|_| news.push("a".to_owned(), false));
        assert_eq!(news.len(), GROUPS_MAX);
        let missed: Vec<_> = told(&mut news)
            .into_iter()
            .map(|(_, missed)| missed)
            .collect();
        assert_eq!(missed.iter().sum::<u64>(), 7 + FOLLOWERS_MAX as u64);
        assert_eq!(
            (missed[FOLLOWERS_MAX - 1], missed[GROUPS_MAX - 1]),
            (7, 500)
        );
        assert_eq!(news.bytes, 0);
    }

    #[test]
    fn a_group_that_is_too_large_for_what_is_left_is_counted_and_alone_it_is_told() {
        let mut news = News::default();
        news.want();
        let large = || "a".repeat(BYTES_MAX + 1);
        news.push("a".to_owned(), false);
        news.push(large(), false);
        assert_eq!(told(&mut news), [(1, 1)]);
        news.push(large(), false);
        news.push("a".to_owned(), false);
        assert_eq!(told(&mut news), [(BYTES_MAX + 1, 1)]);
    }
}
