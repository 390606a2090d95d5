//! Text lists of labelled images, one `relative/path label` per line, as the long-tailed benchmarks publish them.

use crate::error::{Error, Result, reserved};
use crate::interrupt::poll;

/// Lines between two checks for an interrupt.
const LINES: usize = 1 << 10;

/// Labels must be below this. A larger one is a mistake, and its table of counts would fill the memory.
pub const MAX_CLASSES: u64 = 1 << 24;

/// Paths and labels of a list. The paths are concatenated in one string: two allocations for a million of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageList {
    /// All paths, without separators.
    pub text: String,
    /// Where each path ends in `text`, in bytes.
    pub ends: Vec<i64>,
    /// Class of each image.
    pub labels: Vec<i64>,
}

/// Read a list: on each line a path, blanks, and a label at the end of the line, so that paths may hold blanks.
///
/// Line `i + 1` is image `i`: a blank line is refused, except at the end of the file. A byte order mark and carriage
/// returns before line feeds are skipped. O(bytes).
///
/// # Errors
///
/// If a line has no path or no label, the label is not an integer in `[0, MAX_CLASSES)`, or the path is not UTF-8
/// or holds a zero byte: the message starts with the line's number. If there is no line.
pub fn parse(list: &[u8]) -> Result<ImageList> {
    let list = list
        .strip_prefix(b"\xEF\xBB\xBF")
        .unwrap_or(list)
        .trim_ascii_end();
    if list.is_empty() {
        return Err(Error::Value(
            "line 1: expected 'path label', got an empty list".into(),
        ));
    }
    let lines = list.split(|&byte| byte == b'\n').count();
    let mut text = String::new();
    text.try_reserve_exact(list.len())
        .map_err(|_| Error::Memory(format!("cannot allocate {} bytes of paths", list.len())))?;
    let (mut ends, mut labels) = (reserved(lines)?, reserved(lines)?);
    for (number, line) in list.split(|&byte| byte == b'\n').enumerate() {
        if number.is_multiple_of(LINES) {
            poll()?;
        }
        let (path, label) = parse_line(line).map_err(|reason| at_line(number + 1, &reason))?;
        text.push_str(path);
        ends.push(text.len() as i64);
        labels.push(label);
    }
    Ok(ImageList { text, ends, labels })
}

fn at_line(number: usize, reason: &str) -> Error {
    Error::Value(format!("line {number}: {reason}"))
}

fn parse_line(line: &[u8]) -> std::result::Result<(&str, i64), String> {
    let line = line.trim_ascii_end();
    let shown = || format!("'{}'", shortened(&String::from_utf8_lossy(line)));
    if line.is_empty() {
        return Err("expected 'path label', got a blank line".into());
    }
    let blank = line.iter().rposition(u8::is_ascii_whitespace);
    let (path, label) = blank.map_or((line, &line[line.len()..]), |at| line.split_at(at));
    let path = path.trim_ascii_end();
    if path.is_empty() || label.is_empty() {
        return Err(format!("expected 'path label', got {}", shown()));
    }
    let label = parse_label(&label[1..]).ok_or_else(|| {
        format!(
            "expected a label, an integer in [0, 2**24), at the end of the line, got {}",
            shown()
        )
    })?;
    let path = std::str::from_utf8(path)
        .map_err(|_| format!("expected a path in UTF-8, got {}", shown()))?;
    if path.contains('\0') {
        return Err(format!(
            "expected a path without a zero byte, got {}",
            shown()
        ));
    }
    Ok((path, label))
}

fn parse_label(digits: &[u8]) -> Option<i64> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None; // `parse` would accept a plus sign
    }
    let label: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (label < MAX_CLASSES).then_some(label as i64)
}

fn shortened(line: &str) -> String {
    const MOST: usize = 80;
    match line.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn paths(list: &ImageList) -> Vec<&str> {
        let starts = std::iter::once(0).chain(list.ends.iter().copied());
        starts
            .zip(&list.ends)
            .map(|(start, &end)| &list.text[start as usize..end as usize])
            .collect()
    }

    #[test]
    fn splits_at_the_last_blank() {
        let list =
            parse(b"\xEF\xBB\xBFa b/c d.jpg 3\r\ne.jpg\t \t007\n\xC3\xA9 1.png 0\n\n \n").unwrap();
        assert_eq!(paths(&list), ["a b/c d.jpg", "e.jpg", "\u{e9} 1.png"]);
        assert_eq!(list.labels, [3, 7, 0]);
    }

    #[test]
    fn names_the_line() {
        let message = |list: &[u8]| parse(list).unwrap_err().to_string();
        assert_eq!(
            message(b""),
            "line 1: expected 'path label', got an empty list"
        );
        assert_eq!(
            message(b"a 0\n\nb 1"),
            "line 2: expected 'path label', got a blank line"
        );
        assert_eq!(
            message(b"a 0\nb.jpg"),
            "line 2: expected 'path label', got 'b.jpg'"
        );
        assert_eq!(
            message(b" 0\nb.jpg 1"),
            "line 1: expected 'path label', got ' 0'"
        );
        for label in [
            "x",
            "-1",
            "+1",
            "1.0",
            "16777216",
            "99999999999999999999999",
            "1x",
        ] {
            let text = message(format!("a 0\nb c {label}").as_bytes());
            assert!(
                text.starts_with("line 2: expected a label, an integer in [0, 2**24)"),
                "{text}"
            );
            assert!(text.ends_with(&format!("got 'b c {label}'")), "{text}");
        }
        assert!(message(b"a 0\n\xFF 1").starts_with("line 2: expected a path in UTF-8"));
        assert!(message(b"a\0b 1").starts_with("line 1: expected a path without a zero byte"));
        let long = message("\u{e9}".repeat(100).as_bytes());
        assert!(
            long.ends_with(&format!("got '{}...'", "\u{e9}".repeat(80))),
            "{long}"
        );
    }

    proptest! {
        #[test]
        fn reads_what_was_written(
            images in prop::collection::vec(("[^\\s\0]([^\r\n\0]{0,9}[^\\s\0])?", 0_i64..1 << 24), 1..20),
            feed in prop_oneof![Just("\n"), Just("\r\n")],
        ) {
            prop_assume!(!images[0].0.starts_with('\u{feff}'));
            let lines: Vec<String> = images.iter().map(|(path, label)| format!("{path} {label}")).collect();
            let written = lines.join(feed);
            let list = parse(written.as_bytes()).unwrap();
            prop_assert_eq!(paths(&list), images.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>());
            prop_assert_eq!(list.labels, images.iter().map(|&(_, label)| label).collect::<Vec<_>>());
        }

        #[test]
        fn no_input_panics(list in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(b' '), Just(b'7')], 0..60)) {
            let _ = parse(&list);
        }
    }
}
