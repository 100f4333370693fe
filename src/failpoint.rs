//! Named places at which the crash test lets a process kill itself.
//!
//! With the Cargo feature `failpoints`, `WRITE_BUFFER_FAILPOINT=name:n` sends SIGKILL to the own
//! process when the point of that name is passed for the nth time. Without the feature a
//! `failpoint!` is nothing. CONTRIBUTING.md says where the points are.
//!
//! Depends on nothing, so that every room may use it.

/// A place to die at; with a future, the moment after it was polled for the first time.
#[cfg(not(feature = "failpoints"))]
macro_rules! failpoint {
    ($name:literal) => {};
    ($name:literal, $future:expr) => {
        $future
    };
}

#[cfg(feature = "failpoints")]
macro_rules! failpoint {
    ($name:literal) => {
        $crate::failpoint::pass(const { $crate::failpoint::number($name) })
    };
    ($name:literal, $future:expr) => {
        $crate::failpoint::once_polled(const { $crate::failpoint::number($name) }, $future)
    };
}

#[cfg(feature = "failpoints")]
pub(crate) use armed::{number, once_polled, pass};

#[cfg(any(feature = "failpoints", test))]
#[cfg_attr(not(feature = "failpoints"), allow(dead_code, reason = "only tested"))]
mod armed {
    use std::future::{Future, poll_fn};
    use std::pin::pin;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    const VARIABLE: &str = "WRITE_BUFFER_FAILPOINT";
    const NAMES: [&str; 18] = [
        "append-before",
        "append-within",
        "append-after",
        "segment-made",
        "sync-before",
        "sync-after",
        "execute-before",
        "execute-within",
        "commit-before",
        "commit-sent",
        "commit-acknowledged",
        "resolve-after",
        "trim-before",
        "trim-after",
        "quarantine-stored",
        "recovery-before-write",
        "recovery-removed",
        "forget-before",
    ];

    #[derive(Debug)]
    struct Armed {
        point: usize,
        /// How often it is still passed, the last time included.
        left: AtomicU64,
    }

    /// A point's number; no program with another name compiles.
    pub(crate) const fn number(name: &str) -> usize {
        let mut at = 0;
        while at < NAMES.len() {
            if is_equal(NAMES[at].as_bytes(), name.as_bytes()) {
                return at;
            }
            at += 1;
        }
        panic!("no failpoint has this name: add it to NAMES")
    }

    const fn is_equal(one: &[u8], other: &[u8]) -> bool {
        let mut at = 0;
        while at < one.len() && at < other.len() && one[at] == other[at] {
            at += 1;
        }
        at == one.len() && at == other.len()
    }

    /// The process passes a point, and may not come back.
    pub(crate) fn pass(point: usize) {
        static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
        let armed = ARMED.get_or_init(|| {
            let setting = std::env::var(VARIABLE).ok()?;
            Some(parse(&setting).unwrap_or_else(|why| die_of(&why)))
        });
        if let Some(armed) = armed.as_ref().filter(|a| a.point == point)
            && armed.left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }

    /// The future; its point is passed when it was polled once.
    pub(crate) async fn once_polled<T>(point: usize, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let mut was_polled = false;
        poll_fn(|context| {
            let polled = future.as_mut().poll(context);
            if !std::mem::replace(&mut was_polled, true) {
                pass(point);
            }
            polled
        })
        .await
    }

    fn parse(setting: &str) -> Result<Armed, String> {
        let parts = setting.split_once(':');
        let parts = parts.and_then(|(name, n)| {
            let point = NAMES.iter().position(|known| *known == name)?;
            n.parse().ok().filter(|n| *n > 0).map(|n| (point, n))
        });
        let (point, left) = parts.ok_or_else(|| {
            format!(
                "{VARIABLE} is {setting:?}; it takes NAME:N, N from 1, and NAME one of: {}",
                NAMES.join(" ")
            )
        })?;
        Ok(Armed {
            point,
            left: AtomicU64::new(left),
        })
    }

    /// A test that is set up wrongly must not look like one that passes.
    #[allow(clippy::print_stderr, reason = "there is nobody else to tell")]
    fn die_of(why: &str) -> ! {
        eprintln!("write_buffer: {why}");
        std::process::abort()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_point_is_named_and_counted_and_everything_else_is_an_error() {
            let armed = parse("commit-sent:3").unwrap();
            assert_eq!(armed.point, number("commit-sent"));
            assert_eq!(armed.left.into_inner(), 3);
            for wrong in [
                "",
                "commit-sent",
                "commit-sent:",
                "commit-sent:0",
                "commit:1",
                "x:1",
            ] {
                let error = parse(wrong).unwrap_err();
                assert!(error.contains("append-before"), "{error}");
            }
        }
    }
}
