//! A proxy between a buffer and a real MySQL server that breaks the wire by a plan, and a
//! load whose every accepted group is known outside of the buffer.
//!
//! | file | what it owns |
//! |---|---|
//! | `wire` | packets: framing, and which statement one is |
//! | `plan` | faults, and when which one strikes: scripted, or drawn from a seed |
//! | `proxy` | sockets and threads: forwards, and does what the plan says |
//! | `database` | a client of its own on the server, past the proxy |
//! | `load` | groups of rows, and the oracle that says what they must have done |
//! | `scene` | one test: proxy, load, the faults, and the reckoning at the end |

pub mod database;
pub mod load;
pub mod plan;
pub mod proxy;
pub mod scene;
mod wire;
