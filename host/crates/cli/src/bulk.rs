//! One action on several files. All are tried, each prints a line, and one failure makes the command fail.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::failure::Failure;
use super::screen::{Answer, printable};

/// Runs `work` on each file. It returns a line and JSON.
pub fn each(
    files: &[PathBuf],
    mut work: impl FnMut(&Path) -> Result<(String, Value), Failure>,
) -> Answer {
    let (mut lines, mut documents, mut failed) = (Vec::new(), Vec::new(), 0_usize);
    for file in files {
        let (line, mut document) = work(file).unwrap_or_else(|failure| {
            failed += 1;
            (format!("FAILED: {}", failure.in_a_line()), failure.to_json())
        });
        document["file"] = json!(file.display().to_string());
        // Text from others must not break out of its line.
        let line = format!("{}: {line}", file.display());
        lines.push(printable(&line).replace('\n', " "));
        documents.push(document);
    }
    let (plain, json) = (lines.join("\n"), json!({"files": documents, "failed": failed}));
    if failed == 0 { Answer::Text { plain, json } } else { Answer::Refused { plain, json } }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    #[test]
    fn a_name_that_is_no_utf_8_is_shown_as_well_as_text_can() {
        let files = [PathBuf::from(OsString::from_vec(b"a\xff.wasm".to_vec()))];
        let answer = each(&files, |_| Ok(("done".to_owned(), json!({}))));
        let Answer::Text { plain, json } = answer else { panic!("none failed") };
        assert_eq!(plain, "a\u{fffd}.wasm: done");
        assert_eq!(json["files"][0]["file"], "a\u{fffd}.wasm");
    }

    #[test]
    fn all_are_tried_and_one_that_fails_is_seen() {
        let files = ["a", "b", "c"].map(PathBuf::from);
        let work = |file: &Path| match file.to_str() {
            Some("b") => Err(Failure::new("no\nsuch thing")),
            _ => Ok(("done".to_owned(), json!({"ok": true}))),
        };
        let Answer::Refused { plain, json } = each(&files, work) else { panic!("one failed") };
        assert_eq!(plain, "a: done\nb: FAILED: no such thing\nc: done");
        assert_eq!((&json["failed"], &json["files"][1]["file"]), (&json!(1), &json!("b")));
        assert!(matches!(each(&files[..1], work), Answer::Text { .. }));
    }
}
