//! Columns for people.

use std::fmt::Write as _;

/// Lines of equal columns under their heads. Control characters are shown, not sent to the terminal.
pub fn render(heads: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| plain(cell)).collect())
        .collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell| cell.chars().count())
            .chain([heads[column].len()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let mut text = String::new();
    let heads: Vec<String> = heads.iter().map(|head| head.to_uppercase()).collect();
    for row in [&heads].into_iter().chain(&rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// Names come from phones and people: an escape sequence in one must not reach the terminal.
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_escapes_are_harmless() {
        let text = render(
            &["a", "name"],
            &[
                vec!["long cell".into(), "\u{1b}[2J".into()],
                vec!["b".into(), "c".into()],
            ],
        );
        assert_eq!(text, "A          NAME\nlong cell  \u{fffd}[2J\nb          c\n");
    }
}
