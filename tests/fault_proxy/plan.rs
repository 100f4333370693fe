//! What goes wrong, and when.

use std::time::Duration;

/// Where a plan is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// A client connects.
    Connection,
    /// `COMMIT`.
    Commit,
    /// The checkpoint is read because an outcome is not known.
    LookUp,
    /// The first statements of a transaction.
    Transaction,
    /// `ROLLBACK`.
    RollBack,
    /// Any other statement.
    Statement,
    /// A packet that goes on with a statement longer than one packet.
    Continuation,
}

/// What happens to a packet, or to a connection as it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends; the packet never reaches the server.
    CutBefore,
    /// Half of the packet's bytes reach the server, then the connection ends.
    CutWithin,
    /// The packet reaches the server and the connection ends at once: the server may or
    /// may not come to carry it out.
    CutAfter,
    /// The server answers; nobody hears it, and the connection ends.
    LoseReply,
    /// So many bytes of the server's answer arrive, then the connection ends.
    TearReply(usize),
    /// The server's answer comes late.
    DelayReply(Duration),
    /// No byte goes through for a while, then all goes on.
    Stall(Duration),
    /// The client's connection ends at once; the packet reaches the server later.
    DeliverLate(Duration),
    /// The connection ends, and new ones are refused for a while.
    Refuse(Duration),
    /// The packet never reaches the server, which is said to have answered with this error.
    Refusal(u16),
    /// The client's connection stands, but nothing goes through it any more; the server's
    /// has ended.
    Silence,
    /// As `Silence`, and the server does not know of it either.
    BlackHole,
}

impl Fault {
    pub const fn name(self) -> &'static str {
        match self {
            Self::CutBefore => "cut before",
            Self::CutWithin => "cut within",
            Self::CutAfter => "cut after",
            Self::LoseReply => "reply lost",
            Self::TearReply(_) => "reply torn",
            Self::DelayReply(_) => "reply late",
            Self::Stall(_) => "stall",
            Self::DeliverLate(_) => "delivered late",
            Self::Refuse(_) => "closed port",
            Self::Refusal(_) => "error",
            Self::Silence => "silence",
            Self::BlackHole => "black hole",
        }
    }
}

/// Says at each moment whether a fault strikes.
pub struct Plan(Box<dyn FnMut(Moment) -> Option<Fault> + Send>);

impl Plan {
    /// Nothing goes wrong.
    pub fn calm() -> Self {
        Self(Box::new(|_| None))
    }

    /// At every `nth` of these moments.
    pub fn every(nth: u64, moment: Moment, fault: Fault) -> Self {
        Self::every_of(nth, moment, vec![fault])
    }

    /// At every `nth` of these moments, one fault after the other.
    pub fn every_of(nth: u64, moment: Moment, faults: Vec<Fault>) -> Self {
        let mut seen = 0;
        let mut faults = faults.into_iter().cycle();
        Self(Box::new(move |now| {
            seen += u64::from(now == moment);
            (now == moment && seen % nth == 0)
                .then(|| faults.next())
                .flatten()
        }))
    }

    /// Each step waits for its moment, then strikes, then the next one waits for its own.
    /// Begins anew after the last.
    pub fn script(steps: Vec<(Moment, Fault)>) -> Self {
        let mut at = 0;
        Self(Box::new(move |now| {
            let (moment, fault) = steps[at % steps.len()];
            (now == moment).then(|| {
                at += 1;
                fault
            })
        }))
    }

    /// At the first of its moments, then at the `nth` of the second's moments that follow,
    /// and then never again.
    pub fn once_then(first: (Moment, Fault), nth: u64, second: (Moment, Fault)) -> Self {
        let mut left = Some(first.1);
        let mut seen = 0;
        Self(Box::new(move |now| {
            if left.is_some() {
                return (now == first.0).then(|| left.take()).flatten();
            }
            seen += u64::from(now == second.0);
            (now == second.0 && seen == nth).then_some(second.1)
        }))
    }

    /// At the first of these moments, and then never again.
    pub fn once(moment: Moment, fault: Fault) -> Self {
        let mut left = Some(fault);
        Self(Box::new(move |now| {
            (now == moment).then(|| left.take()).flatten()
        }))
    }

    /// Everything, by chance.
    pub fn storm(seed: u64) -> Self {
        let mut random = Random::new(seed);
        Self(Box::new(move |now| {
            let strikes_in_100 = match now {
                Moment::Commit => 30,
                Moment::LookUp | Moment::Connection => 20,
                Moment::Transaction | Moment::RollBack | Moment::Continuation => 10,
                Moment::Statement => 2,
            };
            let a_while = Duration::from_millis(1 + random.below(30));
            let fault = match (now, random.below(10)) {
                // Its first 3,000 bytes are greeting, log-in, session and checkpoint.
                (Moment::Connection, 0..6) => Fault::TearReply(random.below(3_000) as usize),
                (Moment::Connection, 6) => Fault::CutBefore,
                (_, 0) => Fault::CutBefore,
                (_, 1) => Fault::CutWithin,
                (_, 2) => Fault::CutAfter,
                (_, 3) => Fault::LoseReply,
                (_, 4) => Fault::TearReply(random.below(12) as usize),
                (_, 5) => Fault::DelayReply(a_while),
                (_, 6) => Fault::DeliverLate(a_while),
                (_, 7) => Fault::Refuse(a_while),
                // Errors that say nothing of the rows.
                (Moment::Connection, 8) => Fault::Stall(a_while),
                (_, 8) => Fault::Refusal([1205, 1290, 1317][random.below(3) as usize]),
                _ => Fault::Stall(a_while),
            };
            (random.below(100) < strikes_in_100).then_some(fault)
        }))
    }

    pub(super) fn strikes(&mut self, now: Moment) -> Option<Fault> {
        (self.0)(now)
    }
}

/// Numbers that a seed repeats: xorshift64.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        // Small seeds differ in few bits; an odd factor spreads them.
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number less than `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}
