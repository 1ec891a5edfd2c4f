//! Aligned columns.

/// A name and seven figures in each row.
#[derive(Debug)]
pub(super) struct Table {
    head: [String; 8],
    rows: Vec<[String; 8]>,
}

impl Table {
    pub(super) fn new(head: [&str; 8]) -> Self {
        Self { head: head.map(str::to_owned), rows: Vec::new() }
    }

    pub(super) fn row(&mut self, name: &str, figures: [String; 7]) {
        self.rows.push(named(name, figures));
    }

    /// The head, the rows, and the totals, all of one width.
    pub(super) fn lines(&self, totals: [String; 7]) -> (String, Vec<String>, String) {
        let last = named("total", totals);
        let all = || std::iter::once(&self.head).chain(&self.rows).chain([&last]);
        let mut widths = [0; 8];
        for row in all() {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let line = |row: &[String; 8]| {
            let cells = row.iter().zip(widths).enumerate();
            let cells = cells.map(|(n, (cell, width))| match n {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            cells.collect::<Vec<_>>().join("  ")
        };
        (line(&self.head), self.rows.iter().map(line).collect(), line(&last))
    }
}

fn named(name: &str, [a, b, c, d, e, f, g]: [String; 7]) -> [String; 8] {
    [name.to_owned(), a, b, c, d, e, f, g]
}
