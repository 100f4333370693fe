//! The journal's format, as docs/journal-format.md describes it: files that were written once
//! are read for ever, and what is wrong with others is named with file and offset.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests fail by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use write_buffer::core::Sequence;
use write_buffer::core::frame::{Frame, FrameKind};
use write_buffer::core::table::DescribedShapes;
use write_buffer::core::value::Value;
use write_buffer::journal::directory::{Dead, Orphan, SEGMENT_HEADER_LEN, others};
use write_buffer::journal::disk::{Disk, System};
use write_buffer::journal::recovery::{DeadLog, RecoveryError};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/journal");

/// A copy of a fixture, which reading it may lock and change.
struct Copy(PathBuf);

impl Copy {
    fn of(case: &str) -> Self {
        // Tests of one process may have copies of the same one.
        static COPIES: AtomicU32 = AtomicU32::new(0);
        let copy = COPIES.fetch_add(1, Ordering::Relaxed);
        let name = format!("write-buffer-format-{case}-{}-{copy}", std::process::id());
        let root = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&root);
        for writer in fs::read_dir(Path::new(FIXTURES).join(case)).unwrap() {
            let writer = writer.unwrap().path();
            let to = root.join(case).join(writer.file_name().unwrap());
            fs::create_dir_all(&to).unwrap();
            fs::write(to.join("lock"), "").unwrap();
            for file in fs::read_dir(&writer).unwrap() {
                let file = file.unwrap().path();
                fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
            }
        }
        Self(root)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn orphans_of(root: &Path, buffer: &str) -> std::io::Result<Vec<Orphan>> {
    let disk: Arc<dyn Disk> = Arc::new(System);
    let others = others(&disk, root, buffer)?;
    let orphans = others.dead.into_iter().filter_map(|dead| match dead {
        Dead::Orphan(orphan) => Some(orphan),
        Dead::Adopted(_) => None,
    });
    Ok(orphans.collect())
}

fn read(case: &str) -> (Copy, Result<DeadLog, RecoveryError>) {
    let copy = Copy::of(case);
    let mut found = orphans_of(&copy.0, case).unwrap();
    assert_eq!(found.len(), 1, "{case}");
    let log = DeadLog::read(found.remove(0));
    (copy, log)
}

fn good(case: &str) -> DeadLog {
    read(case).1.unwrap_or_else(|e| panic!("{case}: {e}"))
}

fn describe(value: Value<'_>) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Float(x) => format!("{x:?}"),
        Value::Bytes(bytes) => format!("\"{}\"", bytes.escape_ascii()),
    }
}

/// Each row that is not discarded: its sequence, table and fields.
fn rows(case: &str) -> (DeadLog, Vec<String>) {
    let (_copy, log) = read(case);
    let log = log.unwrap_or_else(|e| panic!("{case}: {e}"));
    let mut shapes = DescribedShapes::default();
    let mut rows = Vec::new();
    for segment in &log.segments {
        let bytes = log.orphan.read(&segment.path, u64::MAX).unwrap();
        let mut at = SEGMENT_HEADER_LEN;
        while at < segment.end {
            let frame = Frame::decode(&bytes[at..]).unwrap();
            at += frame.total_len();
            if frame.kind == FrameKind::Shape {
                shapes.add(frame.payload).unwrap();
            }
            if frame.kind != FrameKind::Rows || log.is_discarded(frame.first) {
                continue;
            }
            for (nth, row) in frame.rows().enumerate() {
                let shape = &shapes.shapes()[row.shape.0 as usize];
                let mut rest = row.values;
                let fields: Vec<_> = shape
                    .fields
                    .iter()
                    .map(|field| {
                        let (value, after) = Value::decode(rest).unwrap();
                        rest = after;
                        format!("{}={}", field.name, describe(value))
                    })
                    .collect();
                assert!(rest.is_empty());
                let sequence = frame.first.0 + nth as u64;
                rows.push(format!(
                    "{sequence} {} {}",
                    shape.table.name,
                    fields.join(" ")
                ));
            }
        }
        assert_eq!(at, segment.end);
    }
    (log, rows)
}

#[test]
fn a_good_journal_reads_as_it_was_written() {
    let (log, rows) = rows("good");
    assert_eq!(rows, [r#"5 t id=5 n="\xff\x00""#]);
    assert_eq!((log.before, log.last), (Sequence(0), Sequence(5)));
    assert_eq!(log.discarded, [(Sequence(1), Sequence(4))]);
    assert_eq!(log.cut, None);
    assert_eq!(log.orphan.writer, "example-9491-0aba2f6bbb7b73b1");
    assert_eq!(log.orphan.database, None);
}

#[test]
fn a_text_has_the_tag_of_its_length_and_a_long_one_its_length_behind_the_tag() {
    let (_, rows) = rows("short-texts");
    let expected = ["", "0.5", &"a".repeat(191), &"b".repeat(192)];
    let expected: Vec<_> = (1..)
        .zip(expected)
        .map(|(id, text)| format!("{id} t id={id} n=\"{text}\""))
        .collect();
    assert_eq!(rows, expected);
    let copy = Copy::of("short-texts");
    let log = DeadLog::read(orphans_of(&copy.0, "short-texts").unwrap().remove(0)).unwrap();
    let bytes = log.orphan.read(&log.segments[0].path, u64::MAX).unwrap();
    let holds = |what: &[u8]| bytes.windows(what.len()).any(|part| part == what);
    assert!(holds(b"\x430.5"));
    assert!(holds(b"\xffaaa"));
    assert!(holds(b"\x05\xc0\0\0\0bbb"));
}

#[test]
fn numbers_and_not_names_order_segments() {
    let (log, rows) = rows("two-segments");
    assert_eq!(rows[1..], [r#"6 t id=6 n="6""#, r#"7 t id=7 n="7""#]);
    assert_eq!(
        log.segments.iter().map(|s| s.number).collect::<Vec<_>>(),
        [1, 2]
    );
    assert!(log.segments[0].path.ends_with("0000000000000003.seg"));
}

#[test]
fn a_log_may_begin_anywhere_and_its_database_must_have_what_was_before() {
    let (log, rows) = rows("older-writer");
    assert_eq!(rows.len(), 3);
    assert_eq!((log.before, log.last), (Sequence(1000), Sequence(1003)));
}

#[test]
fn a_log_begins_behind_a_gap() {
    let (log, rows) = rows("gap");
    assert_eq!(rows, [r#"8 t id=8 n="8""#, r#"9 t id=9 n="9""#]);
    assert_eq!((log.before, log.last), (Sequence(7), Sequence(9)));
}

#[test]
fn what_was_never_used_is_nothing() {
    let log = good("unused");
    assert!(log.segments.is_empty());
    assert_eq!(
        (log.before, log.last, &log.cut),
        (Sequence(0), Sequence(0), &None)
    );
}

#[test]
fn a_torn_end_is_cut_and_said() {
    for (case, length) in [("torn-end", 25), ("unpublished-end", 47)] {
        let log = good(case);
        assert_eq!(log.last, Sequence(4), "{case}");
        assert_eq!(log.segments[0].end, 0x1d8, "{case}");
        let cut = log.cut.clone().unwrap();
        assert!(cut.contains("0000000000000001.seg"), "{cut}");
        assert!(
            cut.contains("offset 472 behind row 4 are no whole frame and were cut"),
            "{cut}"
        );
        assert!(
            cut.contains(&format!(": {length} bytes at offset")),
            "{cut}"
        );
    }
}

#[test]
fn corruption_is_named_with_file_and_offset() {
    for (case, file, offset, what) in [
        (
            "corrupt-middle",
            "0000000000000001.seg",
            0x100,
            "row 1 stands here, but one with row 2 follows at offset 312",
        ),
        (
            "first-of-two-corrupt",
            "0000000000000001.seg",
            0x100,
            "row 1 stands here, but segment 2 begins with row 6",
        ),
        (
            "version-2",
            "0000000000000001.seg",
            8,
            "format version 2; this program reads version 1",
        ),
        (
            "foreign",
            "0000000000000001.seg",
            0,
            "no segment of a WriteBuffer journal",
        ),
        (
            "header-corrupt",
            "0000000000000001.seg",
            0,
            "header is corrupt",
        ),
        (
            "header-lost",
            "0000000000000001.seg",
            0,
            "frames and no header",
        ),
    ] {
        let (copy, log) = read(case);
        let error = log.err().unwrap_or_else(|| panic!("{case} was read"));
        assert!(
            error.path.starts_with(fs::canonicalize(&copy.0).unwrap()),
            "{error}"
        );
        assert!(error.path.ends_with(file), "{error}");
        assert_eq!(error.offset, offset, "{error}");
        assert!(error.what.contains(what), "{error}");
        let text = error.to_string();
        assert!(
            text.contains(file) && text.contains(&format!("offset {offset}: ")),
            "{text}"
        );
        let left = orphans_of(&copy.0, case).unwrap();
        assert_eq!(
            left.len(),
            1,
            "{case}: it is left, for the next one to look at"
        );
    }
}

#[test]
fn a_directory_without_a_lock_is_nobodys() {
    let copy = Copy::of("good");
    let parent = copy.0.join("good");
    let foreign = parent.join("photographs");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("holiday.jpg"), "precious").unwrap();
    fs::create_dir(parent.join("new-example-1-0")).unwrap();
    let found = orphans_of(&copy.0, "good").unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1);
    assert!(
        !parent.join("new-example-1-0").exists(),
        "an unfinished one goes"
    );
    let path = found[0].path.clone();
    fs::write(path.join("notes.txt"), "not ours").unwrap();
    found[0].remove().unwrap();
    let left = fs::read_dir(&path).unwrap().map(|e| e.unwrap().file_name());
    assert_eq!(left.collect::<Vec<_>>(), ["notes.txt"]);
}

#[test]
fn the_documents_example_is_the_good_journal() {
    let text = fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/docs/journal-format.md"
    ))
    .unwrap();
    let dump = text
        .split("```hex\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let bytes: Vec<u8> = dump
        .lines()
        .flat_map(|line| line.split_whitespace().skip(1))
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect();
    let file = Path::new(FIXTURES).join("good/example-9491-0aba2f6bbb7b73b1/0000000000000001.seg");
    assert_eq!(bytes, fs::read(file).unwrap());
    let offsets = [0x40, 0x100, 0x138, 0x178, 0x1b0, 0x1d8];
    let frames = offsets.map(|at| Frame::decode(&bytes[at..]).unwrap());
    let seen = frames.map(|f| (f.payload.len(), f.first.0, f.rows, f.is_intact()));
    assert_eq!(
        seen,
        [
            (167, 1, 0, true),
            (25, 1, 1, true),
            (36, 2, 2, true),
            (26, 4, 1, true),
            (16, 5, 0, true),
            (24, 5, 1, true),
        ]
    );
    for (pair, frame) in offsets.windows(2).zip(frames) {
        assert_eq!(pair[0] + frame.total_len(), pair[1]);
    }
}
