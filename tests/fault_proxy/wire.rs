//! Packets of the MySQL protocol, as much of them as a proxy must know.
//!
//! | bytes | what |
//! |---|---|
//! | 3 | length of the payload, little endian; 0xffffff: the next packet goes on with it |
//! | 1 | sequence number; a client's command begins with 0, its part of a handshake never |
//! | n | payload; a command's first byte says which one |

use std::io::{self, Read};

use super::plan::Moment;

const HEADER: usize = 4;
const LENGTH_MAX: usize = 0xff_ffff;
const COM_QUERY: u8 = 3;

/// A packet with its header.
pub struct Packet(pub Vec<u8>);

impl Packet {
    /// Reads one; `None` at the end of the stream, also in the middle of a packet.
    pub fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut bytes = vec![0; HEADER];
        let read = from.read_exact(&mut bytes).and_then(|()| {
            let length = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
            bytes.resize(HEADER + length as usize, 0);
            from.read_exact(&mut bytes[HEADER..])
        });
        match read {
            Ok(()) => Ok(Some(Self(bytes))),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn payload(&self) -> &[u8] {
        &self.0[HEADER..]
    }

    /// Whether the next packet belongs to the same command.
    pub fn goes_on(&self) -> bool {
        self.payload().len() == LENGTH_MAX
    }

    /// What a client's packet is; `follows` when the one before it goes on with it. `None`
    /// for parts of a handshake and for commands that are no statements.
    pub fn moment(&self, follows: bool) -> Option<Moment> {
        if follows {
            return Some(Moment::Continuation);
        }
        let (&COM_QUERY, sql) = self.payload().split_first().filter(|_| self.0[3] == 0)? else {
            return None;
        };
        Some(if sql == b"COMMIT" {
            Moment::Commit
        } else if sql == b"ROLLBACK" {
            Moment::RollBack
        } else if sql.ends_with(b" FOR UPDATE; ROLLBACK") {
            Moment::LookUp
        } else if sql.starts_with(b"START TRANSACTION") {
            Moment::Transaction
        } else {
            Moment::Statement
        })
    }
}

/// A server's answer to a command: this error.
pub fn error(code: u16) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, 1, 0xff];
    bytes.extend_from_slice(&code.to_le_bytes());
    bytes.extend_from_slice(b"#HY000said the proxy");
    bytes[0] = (bytes.len() - HEADER) as u8;
    bytes
}

/// The number the server gives a session, from the packet it greets with.
pub fn session_number(greeting: &[u8]) -> Option<u32> {
    let version_onwards = greeting.get(HEADER + 1..)?;
    let end = version_onwards.iter().position(|b| *b == 0)?;
    let number = version_onwards.get(end + 1..end + 5)?;
    Some(u32::from_le_bytes(number.try_into().ok()?))
}

#[test]
fn packets_are_told_apart() {
    let packet = |sequence: u8, payload: &[u8]| {
        let mut bytes = vec![payload.len() as u8, 0, 0, sequence];
        bytes.extend_from_slice(payload);
        Packet::read(&mut &bytes[..]).unwrap().unwrap()
    };
    for (sequence, payload, moment) in [
        (0, &b"\x03COMMIT"[..], Some(Moment::Commit)),
        (1, b"\x03COMMIT", None),
        (0, b"\x01", None),
        (
            0,
            b"\x03START TRANSACTION;UPDATE x",
            Some(Moment::Transaction),
        ),
        (
            0,
            b"\x03START TRANSACTION; SELECT s FOR UPDATE; ROLLBACK",
            Some(Moment::LookUp),
        ),
        (0, b"\x03ROLLBACK", Some(Moment::RollBack)),
        (0, b"\x03COMMITMENT", Some(Moment::Statement)),
    ] {
        assert_eq!(
            packet(sequence, payload).moment(false),
            moment,
            "{payload:?}"
        );
    }
    assert!(
        Packet::read(&mut &b"\x05\0\0\0\x03COM"[..])
            .unwrap()
            .is_none()
    );
    assert_eq!(session_number(b"....\x0a9.7\0\x07\x01\0\0rest"), Some(263));
}
