//! Whatever bytes a journal holds, reading it neither panics nor takes memory beyond them.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::{Path, PathBuf};

use write_buffer::core::Sequence;
use write_buffer::core::frame::{Frame, FrameKind, HEADER_LEN};
use write_buffer::core::table::DescribedShapes;
use write_buffer::core::value::Value;
use write_buffer::journal::recovery::Frames;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/journal");
/// Of each of the two tests, which run side by side.
const CASES: u32 = 500_000;

std::thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, which remembers the largest request of a thread.
struct Watched;

#[allow(
    unsafe_code,
    reason = "an allocator is unsafe to implement; it only passes on"
)]
// SAFETY: every request goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(layout.size())));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// Numbers that are the same in each run: a failure names the case.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// Segments of the fixtures, each journal's together.
fn journals() -> Vec<Vec<Vec<u8>>> {
    let list = |path: &Path| {
        let entries = std::fs::read_dir(path).unwrap();
        let mut paths: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let cases = list(Path::new(FIXTURES));
    let writers = cases.iter().flat_map(|case| list(case));
    writers
        .map(|writer| {
            list(&writer)
                .iter()
                .map(|f| std::fs::read(f).unwrap())
                .collect()
        })
        .collect()
}

/// Changes a few bytes: bits, whole words, what is cut or repeated.
fn mutate(bytes: &mut Vec<u8>, numbers: &mut Numbers) {
    const WORDS: [u64; 8] = [
        0,
        1,
        0xff,
        0x7fff_ffff,
        0xffff_ffff,
        1 << 32,
        u64::MAX - 1,
        u64::MAX,
    ];
    for _ in 0..=numbers.below(3) {
        if bytes.is_empty() {
            return bytes.extend_from_slice(&numbers.next().to_le_bytes());
        }
        let at = numbers.below(bytes.len());
        match numbers.below(8) {
            0..=2 => bytes[at] ^= 1 << numbers.below(8),
            3 => bytes[at] = numbers.next() as u8,
            4 | 5 => {
                let at = at & !3;
                let word = WORDS[numbers.below(WORDS.len())].to_le_bytes();
                let length = [4, 8][numbers.below(2)].min(bytes.len() - at);
                bytes[at..at + length].copy_from_slice(&word[..length]);
            }
            6 => bytes.truncate(at),
            _ => {
                let end = at + numbers.below(bytes.len() - at + 1);
                let copy = bytes[at..end].to_vec();
                let to = numbers.below(bytes.len()) & !7;
                bytes.splice(to..to, copy);
            }
        }
    }
}

/// Makes checksums right again, so that what they guard is reached, too.
fn seal(bytes: &mut [u8]) {
    if bytes.len() >= 64 {
        let checksum = crc32c::crc32c(&bytes[..40]).to_le_bytes();
        bytes[40..44].copy_from_slice(&checksum);
    }
    let mut at = 64;
    while let Some((end, length)) = bytes
        .get(at..)
        .and_then(Frame::decode)
        .map(|f| (HEADER_LEN + f.payload.len(), f.total_len()))
    {
        let checksum = crc32c::crc32c(&bytes[at + 8..at + end]).to_le_bytes();
        bytes[at + 4..at + 8].copy_from_slice(&checksum);
        at += length;
    }
}

fn read_frame(bytes: &[u8]) {
    let Some(frame) = Frame::decode(bytes) else {
        return;
    };
    assert!(frame.total_len() <= bytes.len());
    assert!(frame.payload.len() + HEADER_LEN <= frame.total_len());
    let _ = (frame.is_intact(), frame.last(), frame.discarded());
    let mut inside = 0;
    for row in frame.rows() {
        inside += row.values.len();
        let mut rest = row.values;
        while let Some((_, after)) = Value::decode(rest) {
            assert!(after.len() < rest.len());
            rest = after;
        }
    }
    assert!(inside <= bytes.len());
    if frame.kind == FrameKind::Shape {
        let _ = DescribedShapes::default().add(frame.payload);
    }
}

fn read_journal(files: &[Vec<u8>]) -> bool {
    let paths = (0..files.len())
        .map(|n| PathBuf::from(n.to_string()))
        .collect();
    let read = |path: &Path, most: u64| {
        let file = &files[path.to_str().unwrap().parse::<usize>().unwrap()];
        Ok(file[..file.len().min(usize::try_from(most).unwrap_or(usize::MAX))].to_vec())
    };
    let Ok(log) = Frames::check(paths, read) else {
        return false;
    };
    assert!(log.before <= log.last);
    for segment in &log.segments {
        let file = &files[segment.path.to_str().unwrap().parse::<usize>().unwrap()];
        assert!(segment.end <= file.len() && segment.first > Sequence(0));
    }
    true
}

#[test]
fn no_bytes_make_a_reader_panic_or_take_much_memory() {
    read_mutated(Numbers(0x9e37_79b9_7f4a_7c15), false);
}

#[test]
fn nor_do_bytes_with_right_checksums() {
    read_mutated(Numbers(0xd1b5_4a32_d192_ed03), true);
}

fn read_mutated(mut numbers: Numbers, sealed: bool) {
    let journals = journals();
    let (mut read, mut refused) = (0, 0);
    for case in 0..CASES {
        let mut files = journals[numbers.below(journals.len())].clone();
        let file = numbers.below(files.len());
        mutate(&mut files[file], &mut numbers);
        if sealed {
            seal(&mut files[file]);
        }
        let bytes = files.iter().map(Vec::len).sum::<usize>();
        LARGEST.set(0);
        if read_journal(&files) {
            read += 1;
        } else {
            refused += 1;
        }
        let mutated = &files[file];
        let at = numbers.below(mutated.len() + 1);
        read_frame(&mutated[at..]);
        read_frame(mutated.get(at & !7..).unwrap_or_default());
        read_frame(mutated.get(64..).unwrap_or_default());
        let _ = Value::decode(&mutated[at..]);
        // A shape may be numbered up to its bound; everything else is as large as the file.
        let largest = LARGEST.get();
        assert!(
            largest <= 4 * bytes + (1 << 20),
            "case {case}: {largest} bytes at once for {bytes}"
        );
    }
    assert!(
        read > CASES / 20 && refused > CASES / 20,
        "{read} read, {refused} refused"
    );
}
