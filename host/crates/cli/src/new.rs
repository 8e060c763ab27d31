//! `hospes new`: a plugin's starting directory, in one of the supported languages.
//!
//! The files are in `host/templates`; tests build, test and call them as written.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::failure::Failure;
use super::screen::Answer;
use hospes_core::id::ModelLabel;

/// Make a plugin's directory from a template.
///
/// It holds a function that greets, a test, its interface in WIT, and a `README.md` with the commands. It builds and runs
/// unchanged. This command compiles and fetches nothing.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes new greeter --lang rust")]
pub struct New {
    /// The model's name, and the directory's.
    name: ModelLabel,
    /// The plugin's language.
    #[arg(long, value_name = "LANGUAGE")]
    lang: Language,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    Rust,
    Python,
    Js,
    C,
}

/// A template's file: its path and its text.
type File = (&'static str, &'static str);

/// A template and the values for its holes.
struct Template {
    files: &'static [File],
    /// The function's file.
    source: &'static str,
    /// The compiled guest.
    module: &'static str,
    /// Installs the toolchain.
    once: &'static str,
    build: &'static str,
    test: &'static str,
}

/// One language's files, by their paths in `host/templates`.
macro_rules! files {
    ($folder:literal: $($to:literal $(from $from:literal)?),+ $(,)?) => {
        &[$(($to, files!(@text $folder, $to $(, $from)?))),+]
    };
    (@text $folder:literal, $to:literal) => {
        include_str!(concat!("../../../templates/", $folder, "/", $to))
    };
    (@text $folder:literal, $to:literal, $from:literal) => {
        include_str!(concat!("../../../templates/", $folder, "/", $from))
    };
}

/// The files that all languages share, where the toolchains look for them.
const SHARED: [File; 5] = [
    ("hospes.toml", include_str!("../../../templates/hospes.toml")),
    ("README.md", include_str!("../../../templates/README.md")),
    ("wit/plugin.wit", include_str!("../../../templates/plugin.wit")),
    ("wit/deps/hospes-plugin/plugin.wit", include_str!("../../../../wit/plugin.wit")),
    (
        "wit/deps/wasi-nn/wasi-nn.wit",
        include_str!("../../../../wit/deps/wasi-nn-0.2.0-rc-2024-10-28/wasi-nn.wit"),
    ),
];

const RUST: Template = Template {
    files: files!("rust": "Cargo.toml", "src/lib.rs", ".gitignore" from "gitignore"),
    source: "src/lib.rs",
    module: "target/wasm32-unknown-unknown/release/plugin.wasm",
    once: "rustup target add wasm32-unknown-unknown",
    build: "cargo build --release --target wasm32-unknown-unknown",
    test: "cargo test",
};

const PYTHON: Template = Template {
    files: files!("python": "app.py", "greeting.py", "test_greeting.py", ".gitignore" from "gitignore"),
    source: "app.py",
    module: "plugin.wasm",
    once: "pip install componentize-py==0.25.1",
    build: "componentize-py -d wit -w plugin componentize app -o plugin.wasm",
    test: "python3 -m unittest",
};

const JS: Template = Template {
    files: files!("js": "app.mjs", "app.test.mjs", "package.json", ".gitignore" from "gitignore"),
    source: "app.mjs",
    module: "plugin.wasm",
    once: "npm install",
    build: "npm run build",
    test: "npm test",
};

const C: Template = Template {
    files: files!("c": "guest.c", "greeting.c", "greeting.h", "test.c", "Makefile", ".gitignore" from "gitignore"),
    source: "guest.c",
    module: "plugin.wasm",
    once: "apt-get install clang-19 libclang-rt-19-dev-wasm32 wasi-libc lld-19 && \
        cargo install --locked wit-bindgen-cli --version 0.61.1 --no-default-features --features c",
    build: "make",
    test: "make test",
};

impl Language {
    fn template(self) -> &'static Template {
        match self {
            Self::Rust => &RUST,
            Self::Python => &PYTHON,
            Self::Js => &JS,
            Self::C => &C,
        }
    }
}

impl New {
    pub fn run(self) -> Result<Answer, Failure> {
        let template = self.lang.template();
        let files = template.write(&self.name, Path::new(self.name.as_str()))?;
        let Template { once, build, test, .. } = template;
        let commands = [once, build, test, "hospes dev ."];
        let plain = format!(
            "wrote {} files in `{}`\nnext, in there:\n  {}",
            files.len(),
            self.name,
            commands.join("\n  ")
        );
        let json = json!({
            "directory": self.name.as_str(),
            "files": files,
            "once": once,
            "build": build,
            "test": test,
        });
        Ok(Answer::new(plain, json))
    }
}

impl Template {
    /// Writes the files into a new directory. Returns their paths in it.
    fn write(&self, name: &ModelLabel, directory: &Path) -> Result<Vec<PathBuf>, Failure> {
        fs::create_dir(directory).map_err(|error| {
            let failure = Failure::file("make directory", directory, &error);
            failure.fix("choose another name, or move the existing directory away")
        })?;
        let mut written = Vec::new();
        for (path, text) in SHARED.iter().chain(self.files) {
            let place = directory.join(path);
            let failed = |error| Failure::file("write", &place, &error);
            let folder = place.parent().unwrap_or(directory);
            fs::create_dir_all(folder).map_err(failed)?;
            let mut file =
                OpenOptions::new().write(true).create_new(true).open(&place).map_err(failed)?;
            file.write_all(self.filled(name, text).as_bytes()).map_err(failed)?;
            written.push(path.into());
        }
        Ok(written)
    }

    fn filled(&self, name: &ModelLabel, text: &str) -> String {
        let holes = [
            ("{{name}}", name.as_str()),
            ("{{source}}", self.source),
            ("{{module}}", self.module),
            ("{{once}}", self.once),
            ("{{build}}", self.build),
            ("{{test}}", self.test),
        ];
        holes.iter().fold(text.to_owned(), |text, (hole, value)| text.replace(hole, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hospes_bundle::Project;

    #[test]
    fn every_language_gets_a_directory_without_holes_that_says_what_is_packed() {
        let folder = tempfile::tempdir().expect("a folder");
        let name: ModelLabel = "greeter-2b".parse().expect("a name");
        for language in Language::value_variants() {
            let directory = folder.path().join(format!("{language:?}"));
            let files = language.template().write(&name, &directory).expect("written");
            for file in &files {
                let text = fs::read_to_string(directory.join(file)).expect("readable");
                assert!(!text.contains("{{"), "{language:?}: {}", file.display());
            }
            let source = Path::new(language.template().source);
            assert!(files.iter().any(|file| file == source), "{language:?}");
            assert_eq!(*Project::read(&directory).expect("a plugin").name(), name);
            let again = language.template().write(&name, &directory).expect_err("it is there");
            assert!(again.to_string().contains("another name"), "{again}");
        }
    }

    /// The plugins here are built with them, so these versions are known to work.
    #[test]
    fn toolchains_are_those_of_the_plugins_here() {
        let build = include_str!("../../../../plugins/build");
        let bindgen = build.split("WIT_BINDGEN=").nth(1).and_then(|text| text.lines().next());
        let bindgen = bindgen.expect("a version");
        assert!(C.once.contains(bindgen), "{bindgen}");
        let cargo = RUST.files.iter().find(|(path, _)| *path == "Cargo.toml").expect("there").1;
        assert!(cargo.contains(&format!("wit-bindgen = {{ version = \"{bindgen}\"")), "{cargo}");
        let requirements = include_str!("../../../../plugins/requirements.txt");
        let python = requirements.lines().find(|line| line.starts_with("componentize-py"));
        assert!(PYTHON.once.ends_with(python.expect("pinned")), "{python:?}");
        let line = |text: &str| {
            let line = text.lines().find(|line| line.contains("\"componentize-qjs\":"));
            line.expect("pinned").trim().to_owned()
        };
        let package = JS.files.iter().find(|(path, _)| *path == "package.json").expect("there").1;
        assert_eq!(line(package), line(include_str!("../../../../plugins/languages/package.json")));
    }
}
