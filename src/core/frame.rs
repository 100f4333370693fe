//! Frames: how rows and atomic groups lie in the log. docs/journal-format.md has examples.
//!
//! | offset | size | field, little endian |
//! |---|---|---|
//! | 0 | 4 | payload length in bytes, stored last; 0 where no frame is |
//! | 4 | 4 | CRC-32C of bytes 8 to 24 and the payload; 0 while the log is not on disk |
//! | 8 | 8 | sequence of the first row; of the row after the last one for other kinds |
//! | 16 | 4 | number of rows; 0 for other kinds |
//! | 20 | 4 | kind: 0 rows, 1 shape, 2 discard |
//! | 24 | … | payload, then zeros up to a multiple of 8 |
//!
//! A payload of *rows* is: 4 bytes length of what follows, 4 bytes shape, one value a
//! field; again for each row. Of a *shape*: its description as JSON. Of a *discard*: the
//! first and the last discarded row, 8 bytes each.
//!
//! A frame is one row or one atomic group; it is in the log whole or not at all.

use super::Sequence;
use super::table::ShapeId;
use super::value::{SHORT_BYTES_MAX, TAG_INT, TAG_SHORT, Value};

/// Bytes before a frame's rows.
pub const HEADER_LEN: usize = 24;
/// Bytes before a row's values.
pub const ROW_HEADER_LEN: usize = 8;

/// Room for a text of [`SHORT_BYTES_MAX`] bytes that is copied in words of eight.
pub const TEXT_ROOM: usize = (SHORT_BYTES_MAX + 1).next_multiple_of(8);

/// Writes values one behind the other. Once one has no room, what is written is of no use.
#[derive(Debug)]
pub struct ValueWriter<'b> {
    rest: &'b mut [u8],
}

impl<'b> ValueWriter<'b> {
    /// A writer at the front of `out`, whatever is there.
    #[inline(always)]
    #[must_use]
    pub fn new(out: &'b mut [u8]) -> Self {
        Self { rest: out }
    }

    /// Bytes that are left.
    #[inline(always)]
    #[must_use]
    pub fn room(&self) -> usize {
        self.rest.len()
    }

    /// The next value; `None` when there is no room for it.
    pub fn push(self, value: Value<'_>) -> Option<Self> {
        let length = value.encode(self.rest)?;
        let rest = self.rest.get_mut(length..)?;
        Some(Self { rest })
    }

    /// The same for an int.
    #[inline(always)]
    pub fn push_int(self, n: i64) -> Option<Self> {
        let (out, rest) = self.rest.split_first_chunk_mut::<9>()?;
        out[0] = TAG_INT;
        out[1..].copy_from_slice(&n.to_le_bytes());
        Some(Self { rest })
    }

    /// The same for a text of so many bytes, which `copy` writes to the front of what it is
    /// given; what it leaves behind the text does not matter. Itself, with nothing written, for
    /// a text longer than [`SHORT_BYTES_MAX`], or where there is less room.
    ///
    /// # Errors
    /// See there.
    #[inline(always)]
    pub fn push_copied(
        self,
        length: usize,
        copy: impl FnOnce(&mut [u8; TEXT_ROOM]),
    ) -> Result<Self, Self> {
        if length > SHORT_BYTES_MAX || self.rest.len() <= TEXT_ROOM {
            return Err(self);
        }
        if let Some((tag, text)) = self.rest.split_first_mut()
            && let Some(room) = text.first_chunk_mut()
        {
            // No more than 255: see above.
            *tag = TAG_SHORT + length as u8;
            copy(room);
        }
        let rest = &mut self.rest[1 + length..];
        Ok(Self { rest })
    }
}

/// Writes a row's bytes: first all values, then the header before them.
#[derive(Debug)]
pub struct RowWriter<'b> {
    out: &'b mut [u8],
    at: usize,
}

impl<'b> RowWriter<'b> {
    /// A row without values, at the front of `out`, whatever is there.
    #[inline]
    #[must_use]
    pub fn new(out: &'b mut [u8]) -> Self {
        Self {
            out,
            at: ROW_HEADER_LEN,
        }
    }

    /// The next value; `None` when there is no room for it.
    #[inline]
    pub fn push(&mut self, value: Value<'_>) -> Option<()> {
        self.at += value.encode(self.out.get_mut(self.at..)?)?;
        Some(())
    }

    /// The next values, which `write` writes to the front of what it is given; it returns how
    /// many bytes they are, or `None` when they have no room.
    #[inline]
    pub fn extend(&mut self, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> Option<()> {
        self.at += write(self.out.get_mut(self.at..)?)?;
        Some(())
    }

    /// The row, of that shape; `None` when not even its header has room.
    #[inline]
    #[must_use]
    pub fn finish(self, shape: ShapeId) -> Option<&'b [u8]> {
        let length = u32::try_from(self.at).ok()?.checked_sub(4)?;
        let header = self.out.first_chunk_mut::<ROW_HEADER_LEN>()?;
        *header = (u64::from(shape.0) << 32 | u64::from(length)).to_le_bytes();
        self.out.get(..self.at)
    }
}

/// A row of these values.
#[must_use]
pub fn encode_row(shape: ShapeId, values: &[Value<'_>]) -> Vec<u8> {
    let length = ROW_HEADER_LEN + values.iter().map(Value::encoded_len).sum::<usize>();
    let mut bytes = vec![0; length];
    let mut writer = RowWriter::new(&mut bytes);
    let pushed = values.iter().try_for_each(|value| writer.push(*value));
    let written = pushed.and_then(|()| writer.finish(shape));
    debug_assert_eq!(
        written.map(<[u8]>::len),
        Some(length),
        "its length was added up"
    );
    bytes
}

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// Rows of one atomic group.
    Rows,
    /// The description of a shape that later frames of the segment name.
    Shape,
    /// Rows that `clear` dropped.
    Discard,
}

impl FrameKind {
    fn code(self) -> u32 {
        match self {
            Self::Rows => 0,
            Self::Shape => 1,
            Self::Discard => 2,
        }
    }

    fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            0 => Self::Rows,
            1 => Self::Shape,
            2 => Self::Discard,
            _ => return None,
        })
    }
}

/// Bytes that a frame with this payload takes.
#[must_use]
#[inline]
pub fn frame_len(payload: usize) -> usize {
    (HEADER_LEN + payload).next_multiple_of(8)
}

/// Writes a frame's header at the front of `out`, all but length and checksum.
#[inline]
pub fn encode_header(out: &mut [u8], kind: FrameKind, first: Sequence, rows: u32) {
    out[..8].copy_from_slice(&[0; 8]);
    out[8..16].copy_from_slice(&first.0.to_le_bytes());
    out[16..20].copy_from_slice(&rows.to_le_bytes());
    out[20..24].copy_from_slice(&kind.code().to_le_bytes());
}

/// Writes a frame's checksum; everything else but its length must stand.
#[inline]
pub fn encode_checksum(frame: &mut [u8], payload: usize) {
    let checksum = crc32c::crc32c(&frame[8..HEADER_LEN + payload]);
    frame[4..8].copy_from_slice(&checksum.to_le_bytes());
}

/// Writes a frame's length, which makes it one.
#[inline]
pub fn encode_length(frame: &mut [u8], payload: usize) {
    let length = u32::try_from(payload).unwrap_or(u32::MAX);
    frame[..4].copy_from_slice(&length.to_le_bytes());
}

/// A frame as it lies in a segment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Frame<'a> {
    /// What it holds.
    pub kind: FrameKind,
    /// Sequence of its first row.
    pub first: Sequence,
    /// How many rows it has.
    pub rows: u32,
    /// See the table above.
    pub payload: &'a [u8],
    /// Whether the checksum is that of the bytes.
    checksum: u32,
    covered: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads the frame at the front of `bytes`. `None` when there is none, or not all of it.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.first_chunk::<HEADER_LEN>()?;
        let word = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let length = usize::try_from(word(0)).ok()?;
        let rows = word(16);
        let kind = FrameKind::from_code(word(20))?;
        let first = u64::from(word(8)) | u64::from(word(12)) << 32;
        let end = HEADER_LEN.checked_add(length)?;
        let payload = bytes.get(HEADER_LEN..end)?;
        bytes.get(..end.checked_next_multiple_of(8)?)?;
        let is_whole = length > 0 && (kind == FrameKind::Rows) == (rows > 0);
        is_whole.then_some(Self {
            kind,
            first: Sequence(first),
            rows,
            payload,
            checksum: word(4),
            covered: &bytes[8..end],
        })
    }

    /// Whether its bytes are those that were written; of frames that have a checksum.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        crc32c::crc32c(self.covered) == self.checksum
    }

    /// First and last row of a discard.
    #[must_use]
    pub fn discarded(&self) -> Option<(Sequence, Sequence)> {
        let (first, rest) = self.payload.split_first_chunk::<8>()?;
        let last = rest.first_chunk::<8>()?;
        let range = (
            Sequence(u64::from_le_bytes(*first)),
            Sequence(u64::from_le_bytes(*last)),
        );
        (self.kind == FrameKind::Discard).then_some(range)
    }

    /// Sequence of its last row.
    #[must_use]
    pub fn last(&self) -> Sequence {
        Sequence(
            self.first
                .0
                .saturating_add(u64::from(self.rows))
                .saturating_sub(1),
        )
    }

    /// Bytes from this frame's start to the next one's.
    #[must_use]
    pub fn total_len(&self) -> usize {
        frame_len(self.payload.len())
    }

    /// The rows, each with the offset of its values from the frame's start. Ends early
    /// when the payload is no list of rows; [`Batch::push`](super::batch::Batch::push)
    /// compares the count.
    pub fn rows(&self) -> impl Iterator<Item = Row<'a>> + use<'a> {
        let payload = self.payload;
        let mut at = 0;
        std::iter::from_fn(move || {
            let rest = payload.get(at..)?;
            let (length, rest) = rest.split_first_chunk::<4>()?;
            let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            let body = rest.get(..length)?;
            let (shape, values) = body.split_first_chunk::<4>()?;
            let offset = HEADER_LEN + at + ROW_HEADER_LEN;
            at += 4 + length;
            Some(Row {
                shape: ShapeId(u32::from_le_bytes(*shape)),
                values,
                offset,
            })
        })
    }
}

/// One row of a frame.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// Its shape.
    pub shape: ShapeId,
    /// Its encoded values.
    pub values: &'a [u8],
    /// Where they begin, counted from the frame's start.
    pub offset: usize,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn however_a_row_is_written_its_bytes_are_the_same(
            texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..250), 0..6),
            n in any::<i64>(),
            spare in 0usize..300,
        ) {
            let values: Vec<_> = texts
                .iter()
                .flat_map(|text| [Value::Bytes(text), Value::Int(n), Value::Null])
                .collect();
            let row = encode_row(ShapeId(7), &values);
            // Like Zend's words, it writes more than the text.
            let copy = |text: &[u8], room: &mut [u8; TEXT_ROOM]| {
                room[..=text.len()].fill(0xAA);
                room[..text.len()].copy_from_slice(text);
            };
            let write_values = |out: &mut [u8]| -> Option<usize> {
                let length = out.len();
                let mut writer = ValueWriter::new(out);
                for value in &values {
                    writer = match value {
                        Value::Bytes(text) => writer
                            .push_copied(text.len(), |room| copy(text, room))
                            .or_else(|writer| writer.push(*value).ok_or(()))
                            .ok()?,
                        Value::Int(n) => writer.push_int(*n)?,
                        other => writer.push(*other)?,
                    }
                }
                Some(length - writer.room())
            };
            let write = |out: &mut [u8]| -> Option<Vec<u8>> {
                let mut writer = RowWriter::new(out);
                writer.extend(write_values)?;
                writer.finish(ShapeId(7)).map(<[u8]>::to_vec)
            };
            let mut out = vec![0xFF; row.len() + spare];
            let written = write(&mut out);
            prop_assert_eq!(written.as_ref(), Some(&row));
            let short = row.len() - 1;
            let written = write(&mut out[..short]);
            prop_assert_eq!(written, None);
        }

        #[test]
        fn any_bytes_decode_without_a_panic(bytes in any::<Vec<u8>>()) {
            if let Some(frame) = Frame::decode(&bytes) {
                prop_assert!(frame.rows().count() <= bytes.len());
            }
        }
    }

    #[test]
    fn a_frame_reads_back_and_a_torn_one_is_not_there() {
        let values = [Value::Int(7), Value::Bytes(b"abc")];
        let rows = [
            encode_row(ShapeId(3), &values),
            encode_row(ShapeId(4), &values),
        ]
        .concat();
        let length = rows.len() / 2;
        let mut bytes = vec![0; frame_len(2 * length)];
        encode_header(&mut bytes, FrameKind::Rows, Sequence(41), 2);
        bytes[HEADER_LEN..][..rows.len()].copy_from_slice(&rows);
        assert_eq!(
            Frame::decode(&bytes),
            None,
            "without its length it is not there"
        );
        encode_checksum(&mut bytes, 2 * length);
        encode_length(&mut bytes, 2 * length);
        let frame = Frame::decode(&bytes).unwrap();
        assert_eq!(
            (frame.first, frame.last(), frame.total_len()),
            (Sequence(41), Sequence(42), bytes.len())
        );
        let rows: Vec<_> = frame.rows().collect();
        assert_eq!(rows.iter().map(|r| r.shape.0).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(
            Value::decode(&bytes[rows[1].offset..]).unwrap().0,
            Value::Int(7)
        );
        assert!(frame.is_intact());
        let mut flipped = bytes.clone();
        flipped[HEADER_LEN + 9] ^= 1;
        assert!(!Frame::decode(&flipped).unwrap().is_intact());
        assert_eq!(Frame::decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(Frame::decode(&[0; 64]), None);
    }
}
