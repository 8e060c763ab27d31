//! Components that do harm or try to: those in `tests/guests/hostile`, and generated ones.

#![expect(
    clippy::needless_pass_by_value,
    reason = "each value is a table row, built and consumed once"
)]

use hospes::bundle::{self, Card, Description, FunctionSpec, RequestedLimits};

use crate::bundles::{component, workspace};

/// The expected result of a component.
#[derive(Debug, Clone)]
pub enum Expect {
    /// It is rejected at publishing, with this text.
    Refused(String),
    /// It is published, and its call fails: status, kind of problem, and failure in the receipt.
    Fails(u16, String, String),
    /// It is published and answers: the attempt had no effect.
    Answers,
}

/// One hostile component.
pub struct Hostile {
    pub name: String,
    pub component: Vec<u8>,
    /// The name of its export.
    pub export: String,
    pub body: String,
    pub expect: Expect,
}

impl Hostile {
    fn new(name: &str, component: Vec<u8>, expect: Expect) -> Self {
        let (export, body) = ("run".to_owned(), String::new());
        Self { name: name.to_owned(), component, export, body, expect }
    }

    /// Its unsigned bundle, with one function `run`.
    ///
    /// # Errors
    /// If it is rejected before it reaches a host.
    pub fn bundle(&self) -> Result<Vec<u8>, bundle::PackError> {
        pack(&self.name, 1, &self.component, &[("run", &self.export)])
    }

    /// Packs an unsigned bundle of any component that exports these functions.
    ///
    /// # Errors
    /// If it is rejected before it reaches a host.
    pub fn packed(
        name: &str,
        version: u64,
        component: &[u8],
        functions: &[String],
    ) -> Result<Vec<u8>, bundle::PackError> {
        let functions: Vec<_> =
            functions.iter().map(|name| (name.as_str(), name.as_str())).collect();
        pack(name, version, component, &functions)
    }
}

fn pack(
    name: &str,
    version: u64,
    component: &[u8],
    functions: &[(&str, &str)],
) -> Result<Vec<u8>, bundle::PackError> {
    let functions = functions.iter().map(|(name, export)| FunctionSpec {
        name: name.parse().expect("a name"),
        export: export.parse().expect("an export"),
        docs: None,
    });
    let description = Description {
        name: name.parse().expect("a label"),
        version: semver::Version::new(1, 0, version),
        licence: "MIT".parse().expect("a licence"),
        summary: "Does harm".into(),
        card: Card::default(),
        functions: functions.collect(),
        types: Vec::new(),
        limits: RequestedLimits::default(),
        origin: Default::default(),
    };
    let mut packed = Vec::new();
    bundle::pack(component, description, &[], &mut packed).map(|_| packed)
}

/// Reads the handwritten components. The header of each file gives the expected result
/// (`;; expect:`), the world if it is a core module (`;; world:`), the request body (`;; body:`) and the
/// export if it is not `run` (`;; exports:`).
///
/// # Panics
/// If a file is invalid.
pub fn written() -> Vec<Hostile> {
    let folder = workspace().join("tests/guests/hostile");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    files.iter().map(|path| read(path)).collect()
}

fn read(path: &std::path::Path) -> Hostile {
    let text = std::fs::read_to_string(path).expect("readable");
    let says = |what: &str| {
        let head = text.lines().take_while(|line| line.starts_with(";;"));
        let mut found = head.filter_map(|line| line.strip_prefix(&format!(";; {what}: ")));
        found.next().map(str::to_owned)
    };
    let expect =
        says("expect").unwrap_or_else(|| panic!("{} has no `;; expect:` line", path.display()));
    let words: Vec<&str> = expect.split(' ').collect();
    let expect = match words.as_slice() {
        ["answers"] => Expect::Answers,
        ["refused", rest @ ..] => Expect::Refused(rest.join(" ")),
        [status, kind, failure] => {
            Expect::Fails(status.parse().expect("a status"), (*kind).into(), (*failure).into())
        }
        other => panic!("{}: {other:?}", path.display()),
    };
    let is_component = text.lines().any(|line| line.starts_with("(component"));
    let world = says("world").unwrap_or_else(|| "export run: func();".into());
    let component = match is_component {
        true => wat::parse_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display())),
        false => component(&text, &world),
    };
    let name = path.file_stem().expect("a name").to_string_lossy();
    let mut hostile = Hostile::new(&name, component, expect);
    hostile.body = says("body").unwrap_or_default();
    hostile.export = says("exports").unwrap_or_else(|| "run".into());
    hostile
}

/// Builds the generated components.
pub fn generated() -> Vec<Hostile> {
    let mut all = of_instances();
    all.extend(of_types());
    all.extend(of_code());
    let plain = wat::parse_str(of_module("")).expect("text");
    let mut deep = b"\0asm\x0d\0\x01\0".to_vec();
    for _ in 0..100 {
        deep = with_section(b"\0asm\x0d\0\x01\0", 4, &deep);
    }
    let deep = with_section(&plain, 4, &deep);
    all.push(Hostile::new("nested-deep", deep, Expect::Refused("nested".into())));
    all.push(Hostile::new("a-section-of-a-bomb", with_custom(&plain, 8 << 20, 1), Expect::Answers));
    all.push(Hostile::new(
        "a-hundred-thousand-sections",
        with_custom(&plain, 8, 100_000),
        Expect::Answers,
    ));
    all
}

fn refused(name: &str, text: String, said: &str) -> Hostile {
    let component = wat::parse_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
    Hostile::new(name, component, Expect::Refused(said.into()))
}

fn answers(name: &str, text: String) -> Hostile {
    let component = wat::parse_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
    Hostile::new(name, component, Expect::Answers)
}

fn of_instances() -> Vec<Hostile> {
    let module = "(core module $m (func (export \"f\"))) (core instance (instantiate $m))";
    vec![
        refused("nested-instances", within(nested(30, module)), "`sandbox.instances_max`"),
        refused("nested-nothing", within(nested(16, "")), "`sandbox.components_max`"),
        refused(
            "nested-types",
            within(nested(7, &"(type (func))".repeat(1000))),
            "`sandbox.definitions_max`",
        ),
        refused(
            "nested-memories",
            within(nested(3, "(core module $m (memory 1)) (core instance (instantiate $m))")),
            "memories",
        ),
        refused("nested-arguments", within(handed_on(12)), "`sandbox."),
        refused("many-modules", within("(core module)".repeat(300)), "core modules"),
        refused(
            "many-instances",
            within("(core module $m)".to_owned() + &"(core instance (instantiate $m))".repeat(33)),
            "`sandbox.instances_max`",
        ),
        refused(
            "many-tables",
            within(format!(
                "(core module $m {}) (core instance (instantiate $m))",
                "(table 1 funcref)".repeat(65)
            )),
            "tables",
        ),
    ]
}

fn of_types() -> Vec<Hostile> {
    vec![
        refused("types-that-double", taking(&doubling(30)), ""),
        refused("types-that-double-less", taking(&doubling(16)), "more than 10000 parts"),
        refused("types-that-are-deep", taking(&deep(60)), "nested more than 32 deep"),
        refused("types-that-are-wide", taking(&wide(9_999, 110)), "type_name_bytes_max"),
        refused("a-name-that-is-long", taking(&wide(1, 5_000)), "name"),
    ]
}

fn of_code() -> Vec<Hostile> {
    vec![
        answers("many-functions", of_module(&"(func)".repeat(20_000))),
        answers(
            "many-exports",
            of_module(
                &(0..20_000).map(|i| format!("(func (export \"e{i}\"))")).collect::<String>(),
            ),
        ),
        answers(
            "many-locals",
            of_module("(func (local 1) (drop (local.get 0)))")
                .replace("(local 1)", &format!("(local{})", " i64".repeat(40_000))),
        ),
        answers("many-globals", of_module(&"(global (mut i64) (i64.const 1))".repeat(50_000))),
        answers(
            "many-segments",
            of_module(&format!(
                "(memory (export \"memory\") 1){}",
                "(data (i32.const 0) \"abcd\")".repeat(20_000)
            )),
        ),
        answers(
            "deep-blocks",
            of_module(&format!("(func {}{})", "(block".repeat(5_000), ")".repeat(5_000))),
        ),
        answers(
            "a-branch-to-everywhere",
            of_module(&format!(
                "(func (param i32) (block (br_table{} (local.get 0))))",
                " 0".repeat(50_000)
            )),
        ),
        refused(
            "code-without-end",
            of_module(&format!(
                "(func (param i64) (result i64) (local.get 0){})",
                "(i64.mul (i64.const 3))".repeat(1_500_000)
            )),
            "compil",
        ),
        answers(
            "much-code",
            of_module(&format!(
                "(func (param i64) (result i64) (local.get 0){})",
                "(i64.mul (i64.const 3))".repeat(50_000)
            )),
        ),
    ]
}

/// A component that exports `run` and also contains `inside`.
fn within(inside: String) -> String {
    format!(
        r#"(component {inside} (core module $of-run (func (export "run"))) (core instance $of-run (instantiate $of-run))
            (func (export "run") (canon lift (core func $of-run "run"))))"#
    )
}

/// A component with one module, which contains `items`.
fn of_module(items: &str) -> String {
    format!(
        r#"(component (core module $m {items} (func (export "run"))) (core instance $i (instantiate $m))
            (func (export "run") (canon lift (core func $i "run"))))"#
    )
}

/// Each level instantiates the one below twice.
fn nested(levels: usize, lowest: &str) -> String {
    let mut text = format!("(component $c0 {lowest})");
    for level in 1..=levels {
        let below = level - 1;
        text += &format!(
            "(component $c{level} (instance (instantiate $c{below})) (instance (instantiate $c{below})))"
        );
    }
    text + &format!("(instance (instantiate $c{levels}))")
}

/// Each level takes the one below as an argument and instantiates it twice.
fn handed_on(levels: usize) -> String {
    let mut text = String::from("(component $c0)");
    for level in 1..=levels {
        let below = level - 1;
        text += &format!(
            r#"(component $t{level} (import "x" (component $x)) (instance (instantiate $x)) (instance (instantiate $x)))
            (component $c{level} (alias outer 1 $t{level} (component $t)) (alias outer 1 $c{below} (component $b))
                (instance (instantiate $t (with "x" (component $b)))))"#
        );
    }
    text + &format!("(instance (instantiate $c{levels}))")
}

/// A component whose function takes a value of type `$last`, the last of `types`.
fn taking(types: &str) -> String {
    format!(
        r#"(component {types}
            (core module $m (memory (export "memory") 1) (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 64))
                (func (export "run") (param i32)))
            (core instance $i (instantiate $m))
            (func (export "run") (param "x" (list $last))
                (canon lift (core func $i "run") (memory (core memory $i "memory")) (realloc (core func $i "realloc")))))"#
    )
    .replace("(func (export \"run\") (param i32)))", "(func (export \"run\") (param i32 i32)))")
}

/// Each tuple holds two of the previous one.
fn doubling(levels: usize) -> String {
    let mut text = String::from("(type $t0 (tuple u8 u8))");
    for level in 1..levels {
        text += &format!("(type $t{level} (tuple $t{0} $t{0}))", level - 1);
    }
    text + &format!("(type $last (tuple $t{0} $t{0}))", levels - 1)
}

/// Nested lists.
fn deep(levels: usize) -> String {
    let mut text = String::from("(type $t0 (list u8))");
    for level in 1..levels {
        text += &format!("(type $t{level} (list $t{}))", level - 1);
    }
    text + &format!("(type $last (list $t{}))", levels - 1)
}

/// A record with `fields` fields, whose names are `bytes` long. It is exported because named types
/// must be.
fn wide(fields: usize, bytes: usize) -> String {
    let fields: String =
        (0..fields).map(|index| format!("(field \"{}{index}\" u8)", "n".repeat(bytes))).collect();
    format!("(type $own (record {fields})) (export $last \"wide\" (type $own))")
}

/// Adds custom sections, filled with zeros, before the component's end.
fn with_custom(component: &[u8], bytes: usize, count: usize) -> Vec<u8> {
    let mut content = vec![4];
    content.extend_from_slice(b"bomb");
    content.extend(std::iter::repeat_n(0, bytes));
    let section = with_section(&[], 0, &content);
    [component, &section.repeat(count)].concat()
}

/// Adds a section to the component.
fn with_section(component: &[u8], id: u8, content: &[u8]) -> Vec<u8> {
    let mut out = component.to_vec();
    out.push(id);
    let mut length = content.len();
    while length > 0x7f {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(content);
    out
}
