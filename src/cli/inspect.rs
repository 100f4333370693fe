//! `inspect`: what stands in a journal.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value as Json, json};

use super::out::Out;
use super::places::WriterPlace;
use super::scan::{Found, Scan, fields};
use super::status::problems_json;
use super::{Error, Verdict};
use crate::core::frame::FrameKind;
use crate::core::table::RowKind;
use crate::journal::quarantine::value_json;

#[derive(Debug, Args)]
pub struct Inspect {
    /// A writer's directory, DIR/<buffer>/<writer>
    #[arg(value_name = "WRITER_DIR")]
    directory: PathBuf,
    /// Show each row: its table, its change and its fields
    #[arg(long)]
    rows: bool,
    /// Begin with the group that has this row
    #[arg(long, value_name = "N", default_value_t = 1)]
    from: u64,
    /// Show at most so many frames
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

impl Inspect {
    pub fn run(&self, out: &mut Out) -> Result<Verdict, Error> {
        let place = WriterPlace::at(&self.directory)?;
        let mut frames = Vec::new();
        let mut shown = 0;
        let is_json = out.is_json();
        if !is_json {
            out.line(&format!("{} ({})", place.path.display(), place.state()))?;
        }
        let scan = Scan::read(&place, |found| {
            let frame = &found.frame;
            let through = match frame.kind {
                FrameKind::Rows => frame.last(),
                FrameKind::Shape | FrameKind::Discard => frame.first,
            };
            if through.0 < self.from || self.limit.is_some_and(|limit| shown >= limit) {
                return Ok(());
            }
            shown += 1;
            if is_json {
                frames.push(self.frame_json(found));
                return Ok(());
            }
            out.line(&line(found))?;
            if self.rows && frame.kind == FrameKind::Rows {
                for row in rows(found) {
                    out.line(&format!("    {row}"))?;
                }
            }
            Ok(())
        })?;
        let segments = scan.segments.iter();
        if is_json {
            let segments: Vec<_> = segments
                .map(|s| {
                    json!({
                        "path": s.segment.path, "number": s.segment.number,
                        "first": s.segment.first.0, "last": s.last.0, "frames": s.frames,
                        "bytes": s.length, "used": s.segment.end,
                    })
                })
                .collect();
            out.json(&json!({
                "ok": scan.problems.is_empty(),
                "writer": place.writer,
                "path": place.path,
                "state": place.state_word(),
                "pid": place.pid(),
                "database": place.database(),
                "segments": segments,
                "spare_segments": scan.spare,
                "frames": frames,
                "problems": problems_json(&scan),
            }))?;
            return Ok(scan.verdict());
        }
        let segments: Vec<_> = segments
            .map(|s| {
                let file = s.segment.path.file_name().unwrap_or_default();
                vec![
                    s.segment.number.to_string(),
                    file.to_string_lossy().into_owned(),
                    s.segment.first.to_string(),
                    s.last.to_string(),
                    s.frames.to_string(),
                    s.length.to_string(),
                    s.segment.end.to_string(),
                ]
            })
            .collect();
        out.line("")?;
        out.table(
            &[
                "SEGMENT", "FILE", "FIRST", "LAST", "FRAMES", "BYTES", "USED",
            ],
            &segments,
        )?;
        if let Some(database) = place.database() {
            out.line(&format!("Its checkpoint is in {database}."))?;
        }
        for p in &scan.problems {
            let path = p.path.display();
            out.line(&format!(
                "{}: {path}, offset {}: {}",
                p.wrong.word(),
                p.offset,
                p.what
            ))?;
        }
        Ok(scan.verdict())
    }

    fn frame_json(&self, found: &Found<'_>) -> Json {
        let frame = &found.frame;
        let mut json = json!({
            "segment": found.segment,
            "offset": found.offset,
            "bytes": frame.total_len(),
            "kind": kind(frame.kind),
        });
        match frame.kind {
            FrameKind::Rows => {
                json["first"] = json!(frame.first.0);
                json["last"] = json!(frame.last().0);
                if self.rows {
                    json["rows"] = Json::Array(rows(found));
                }
            }
            FrameKind::Shape => {
                json["shape"] = serde_json::from_slice(frame.payload).unwrap_or(Json::Null);
            }
            FrameKind::Discard => {
                let range = frame.discarded().map(|(a, b)| [a.0, b.0]);
                json["discarded"] = json!(range);
            }
        }
        json
    }
}

fn kind(kind: FrameKind) -> &'static str {
    match kind {
        FrameKind::Rows => "rows",
        FrameKind::Shape => "shape",
        FrameKind::Discard => "discard",
    }
}

fn line(found: &Found<'_>) -> String {
    let frame = &found.frame;
    let at = format!("segment {} offset {:>8}", found.segment, found.offset);
    match frame.kind {
        FrameKind::Rows if frame.rows == 1 => format!("{at}  row {}", frame.first),
        FrameKind::Rows => format!("{at}  rows {} to {}, one group", frame.first, frame.last()),
        FrameKind::Shape => {
            format!("{at}  shape {}", String::from_utf8_lossy(frame.payload))
        }
        FrameKind::Discard => match frame.discarded() {
            Some((first, last)) => format!("{at}  discard of rows {first} to {last}"),
            None => format!("{at}  discard that cannot be read"),
        },
    }
}

fn rows(found: &Found<'_>) -> Vec<Json> {
    let shapes = found.shapes.shapes();
    let rows = found.frame.rows().zip(found.frame.first.0..);
    rows.map(|(row, sequence)| {
        let shape = shapes.get(row.shape.0 as usize);
        let fields = shape.and_then(|shape| Some((shape, fields(shape, &row)?)));
        let Some((shape, fields)) = fields else {
            return json!({ "sequence": sequence, "unreadable": true });
        };
        let change = match shape.kind {
            RowKind::Put => "add",
            RowKind::Delete => "delete",
        };
        let fields: Map<_, _> = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value_json(value)))
            .collect();
        json!({ "sequence": sequence, "table": shape.table.name, "change": change, "row": fields })
    })
    .collect()
}
