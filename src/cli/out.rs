//! What is printed: tables for people, JSON for programs.

use std::io::{self, BufWriter, Stdout, Write};

use serde_json::Value as Json;

/// Standard output.
pub struct Out {
    json: bool,
    to: BufWriter<Stdout>,
}

impl Out {
    /// Tables, or JSON.
    pub fn new(json: bool) -> Self {
        Self {
            json,
            to: BufWriter::new(io::stdout()),
        }
    }

    /// Whether JSON is wanted.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// One line of text.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.to, "{text}")
    }

    /// The result as JSON.
    pub fn json(&mut self, value: &Json) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut self.to, value)?;
        writeln!(self.to)
    }

    /// A table; every row has as many cells as the head.
    pub fn table(&mut self, head: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
        let width = |at: usize| {
            let cells = rows.iter().map(|row| row[at].chars().count());
            cells.chain([head[at].len()]).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..head.len()).map(width).collect();
        let head: Vec<_> = head.iter().map(|h| (*h).to_owned()).collect();
        for row in std::iter::once(&head).chain(rows) {
            let cells = row.iter().zip(&widths);
            let cells: Vec<_> = cells
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            writeln!(self.to, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }

    /// Everything is written.
    pub fn finish(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// A number, or a dash.
pub fn number(value: Option<u64>) -> String {
    value.map_or_else(|| "-".to_owned(), |n| n.to_string())
}

/// The beginning of a text, on one line.
pub fn short(text: &str, length: usize) -> String {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(length + 1)
        .collect();
    if line.chars().count() <= length {
        return line;
    }
    let mut cut: String = line.chars().take(length - 1).collect();
    cut.push('…');
    cut
}
