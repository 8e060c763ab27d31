//! Runs what the README and the page on language models tell to paste, unchanged.

use std::net::TcpListener;
use std::process::Command;

use system_tests::{HostProcess, workspace};

/// The shell blocks of a page's section.
fn blocks(page: &str, heading: &str) -> String {
    let page = std::fs::read_to_string(workspace().join(page)).expect("readable");
    let section = page.split("\n## ").find(|section| section.starts_with(heading));
    let blocks = section.expect("there is one").split("```sh\n").skip(1);
    blocks.filter_map(|block| block.split("```").next()).collect()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("bound").port()
}

/// Runs a script that keeps its files in `name`, and returns what it said.
fn paste(script: &str, name: &str) -> String {
    let folder = tempfile::tempdir().expect("a directory");
    let (port, operator) = (free_port(), free_port());
    let here = folder.path().to_str().expect("text");
    // The script is unchanged except for the folder and two free ports.
    let script = script
        .replace(&format!("$PWD/{name}"), here)
        .replace(&format!("{name}/"), &format!("{here}/"))
        .replace(":8080", &format!(":{port}"))
        .replace(
            "hospes serve",
            &format!(
                "hospes serve --listen 127.0.0.1:{port} --operator-listen 127.0.0.1:{operator}"
            ),
        );
    let binary = HostProcess::command().get_program().to_owned();
    let binaries = std::path::Path::new(&binary).parent().expect("a folder").to_owned();
    let path = format!("{}:{}", binaries.display(), std::env::var("PATH").expect("set"));
    let output = Command::new("bash")
        .args(["-euc", &format!("trap 'kill %1 2>/dev/null || true' EXIT\n{script}")])
        .current_dir(workspace())
        .env("PATH", path)
        .env("HOSPES_HOST", format!("http://127.0.0.1:{port}"))
        .env("HOSPES_OPERATOR", format!("http://127.0.0.1:{operator}"))
        .output()
        .expect("it runs");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn the_tour_works_when_it_is_pasted() {
    let said = paste(&blocks("README.md", "A five-minute tour"), "tour");
    for expected in [
        "urn:hospes:problem:not-permitted",
        "[prevent] At most 3 calls in all.",
        "HTTP/1.1 200 OK",
        "hospes-remaining: 2",
        r#""name":"label","datatype":"INT64","shape":[1],"data":[0]"#,
        r#""name":"label","datatype":"INT64","shape":[1],"data":[2]"#,
        "the receipt is genuine",
    ] {
        assert!(said.contains(expected), "`{expected}` is not in:\n{said}");
    }
}

#[test]
fn a_gguf_file_answers_when_the_commands_for_it_are_pasted() {
    let script = blocks("host/docs/language-models.md", "From a GGUF file to an answer");
    // `make test` has made all of this.
    let (make, script) = script.split_once('\n').expect("lines");
    assert!(make.starts_with("make plugins "), "{make}");
    let said = paste(script, "talk");
    for expected in [r#""content":"The capital of France is Paris.""#, r#""prompt_tokens":37"#] {
        assert!(said.contains(expected), "`{expected}` is not in:\n{said}");
    }
}
