//! `hospes evaluate` and `hospes optimize` on every format of held-out rows, with models whose answers can be worked out by hand. They compute on
//! tract, which is part of the program.

use std::io::Write as _;
use std::sync::Arc;

use hospes::data::write_npz;
use hospes::onnx::Model;
use hospes::onnx::model::{ElementType, Graph, Node, Size, Tensor, ValueInfo};
use hospes::tensor::DataType;
use parquet::data_type::{DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::{Value, json};

use crate::evaluate::Desk;

impl Desk {
    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, bytes).expect("written");
    }

    /// A grey picture of two by two pixels of one brightness.
    fn grey(&self, name: &str, value: u8) {
        self.write(name, b"");
        image::GrayImage::from_pixel(2, 2, image::Luma([value]))
            .save(self.path(name))
            .expect("PNG");
    }

    /// The JSON of a command that may end with this exit code.
    #[track_caller]
    fn json(&self, code: i32, arguments: &[&str]) -> Value {
        let output = self.run(&[&["--json"], arguments].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    #[track_caller]
    fn evaluated(&self, arguments: &[&str]) -> Value {
        self.json(0, &[&["evaluate"], arguments, &["--backend", "tract"]].concat())
    }

    #[track_caller]
    fn refused_on_tract(&self, arguments: &[&str]) -> String {
        let arguments = [&["evaluate"], arguments, &["--backend", "tract"]].concat();
        let output = self.run(&arguments);
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

/// A model of one product of the input's row with weights, and a bias.
fn model(shape: &[Size], weights: &[&[f32]], bias: &[f32], classes: Option<&[&str]>) -> Vec<u8> {
    let (inputs, outputs) = (weights.len() as i64, bias.len() as i64);
    let mut graph = Graph::new("worked-out");
    graph.inputs.push(ValueInfo::tensor("x", ElementType::FLOAT, shape));
    graph.initialisers.push(Tensor::new("w", &[inputs, outputs], &weights.concat()));
    graph.initialisers.push(Tensor::new("b", &[outputs], bias));
    graph.nodes.push(Node::new("Flatten", &["x"], &["flat"]).with("axis", 1_i64));
    // Without effect: `graph` of `hospes optimize` has something to remove.
    graph.nodes.push(Node::new("Identity", &["flat"], &["same"]));
    graph.nodes.push(Node::new("Gemm", &["same", "w", "b"], &["y"]));
    let answers = [Size::Named("n".into()), Size::Fixed(outputs)];
    graph.outputs.push(ValueInfo::tensor("y", ElementType::FLOAT, &answers));
    let mut model = Model::new(graph, 17);
    if let Some(classes) = classes {
        model.set_metadata("hospes.classes", json!(classes).to_string());
    }
    model.write().expect("sound")
}

fn rows(sizes: &[i64]) -> Vec<Size> {
    let fixed = sizes.iter().map(|size| Size::Fixed(*size));
    std::iter::once(Size::Named("n".into())).chain(fixed).collect()
}

/// `2 a + 3 b + 1`.
fn line() -> Vec<u8> {
    model(&rows(&[2]), &[&[2.0], &[3.0]], &[1.0], None)
}

/// Dark or bright, by the mean of four pixels from 0 to 1.
fn bright(classes: Option<&[&str]>) -> Vec<u8> {
    let pixel: &[f32] = &[-0.25, 0.25];
    model(&rows(&[1, 2, 2]), &[pixel; 4], &[0.5, -0.5], classes)
}

/// Three classes by the mean of four pixels from 0 to 255. At 100 and 200 two scores are equal.
fn three() -> Vec<u8> {
    let pixel: &[f32] = &[0.0, 0.25, 0.5];
    model(&rows(&[1, 2, 2]), &[pixel; 4], &[0.0, -100.0, -300.0], None)
}

#[test]
fn a_model_of_one_number_is_not_judged_by_classes() {
    let desk = Desk::without_library();
    desk.write("line.onnx", line());
    // Whole numbers, which are classes for a model that answers some.
    desk.write("rows.csv", "a,b,y\n1,1,6\n2,0,5\n0,3,10\n4,4,21\n");
    let report = desk.evaluated(&["line.onnx", "--data", "rows.csv"]);
    let figures = &report["runs"][0]["figures"];
    assert_eq!((&report["metric"], &figures["metric"]), (&json!("r2"), &json!("r2")), "{report}");
    assert_eq!((&figures["value"], &figures["mean_absolute_error"]), (&json!(1.0), &json!(0.0)));
    let note = report["notes"][0].as_str().expect("a note");
    assert!(note.contains("one number a row") && note.contains("`--metric accuracy`"), "{note}");
    let order = "columns were taken in the order of the file: `a`, `b`";
    assert_eq!(report["notes"][1], order, "{report}");
    // One row is off by 4: sklearn.metrics.r2_score([6, 5, 10, 25], [6, 5, 10, 21])
    desk.write("rows.csv", "a,b,y\n1,1,6\n2,0,5\n0,3,10\n4,4,25\n");
    let report = desk.evaluated(&["line.onnx", "--data", "rows.csv", "--metric", "r2"]);
    let value = report["runs"][0]["figures"]["value"].as_f64().expect("a number");
    assert!((value - 0.937_743_190_661_478_6).abs() < 1e-9, "{value}");
    let said = desk.refused_on_tract(&["line.onnx", "--data", "rows.csv", "--metric", "accuracy"]);
    assert!(said.contains("tells 2 classes apart"), "{said}");
    // Two models of numbers, without labels.
    desk.write("bare.csv", "a,b\n1,1\n2,0\n0,3\n");
    let both = ["line.onnx", "--data", "bare.csv", "--reference", "line.onnx"];
    let report = desk.evaluated(&both);
    assert_eq!(
        (&report["metric"], &report["runs"][0]["figures"]["value"]),
        (&json!("r2"), &json!(1.0))
    );
}

/// A model with these columns in its metadata, as `hospes train` writes them.
fn trained(model: &[u8], columns: &Value) -> Vec<u8> {
    let mut model = Model::read(model.to_vec()).expect("sound");
    model.set_metadata("hospes.columns", columns.to_string());
    model.write().expect("sound")
}

#[test]
fn a_table_is_taken_by_the_columns_of_training() {
    let desk = Desk::without_library();
    let columns = json!([{ "name": "a" }, { "name": "b", "categories": ["blue", "red"] }]);
    desk.write("line.onnx", trained(&line(), &columns));
    // With an identifier, and in another order: 2 a + 3 where it is red + 1.
    let table = "b,id,y,a\nred,7,7,1.5\nblue,8,1.5,0.25\nred,9,5,0.5\nblue,7,6,2.5\n";
    desk.write("rows.csv", table);
    let report = desk.evaluated(&["line.onnx", "--data", "rows.csv", "--metric", "r2"]);
    assert_eq!(report["runs"][0]["figures"]["value"], 1.0, "{report}");
    let notes = report["notes"].to_string();
    assert!(!notes.contains("order of the file"), "names put the columns in their place: {notes}");
    // Four rows prove nothing, so nothing is written.
    let optimize =
        ["optimize", "line.onnx", "--data", "rows.csv", "--only", "graph", "-o", "s.onnx"];
    assert_eq!(desk.json(1, &optimize)["compared_by"], "r2");
    desk.write("green.csv", table.replace("blue,8", "green,8"));
    let said = desk.refused_on_tract(&["line.onnx", "--data", "green.csv"]);
    assert!(said.contains("row 2, `b`: `green` is none of the texts"), "{said}");
    desk.write("less.csv", "b,y\nred,7\nblue,1.5\n");
    let said = desk.refused_on_tract(&["line.onnx", "--data", "less.csv"]);
    assert!(said.contains("no column `a`, which the model was trained with"), "{said}");
}

#[test]
fn cosines_with_another_model_are_the_known_ones() {
    let desk = Desk::without_library();
    desk.write("same.onnx", model(&rows(&[2]), &[&[1.0, 0.0], &[0.0, 1.0]], &[0.0, 0.0], None));
    // (a, b) becomes (a, a + b).
    desk.write("sheared.onnx", model(&rows(&[2]), &[&[1.0, 1.0], &[0.0, 1.0]], &[0.0, 0.0], None));
    desk.write("rows.csv", "a,b\n1,0\n0,1\n1,2\n");
    let both = ["sheared.onnx", "--reference", "same.onnx", "--data", "rows.csv"];
    let cosine = [&both[..], &["--metric", "cosine"]].concat();
    let report = desk.evaluated(&cosine);
    let figures = &report["runs"][0]["figures"];
    let known = |member: &str, value: f64| {
        let seen = figures[member].as_f64().unwrap_or_else(|| panic!("{member}: {report}"));
        assert!((seen - value).abs() < 1e-9, "{member}: {seen}");
    };
    // Of (1, 0) and (1, 1); of (0, 1) twice; of (1, 2) and (1, 3).
    let cosines = [0.5_f64.sqrt(), 1.0, 7.0 / 50.0_f64.sqrt()];
    known("mean", cosines.iter().sum::<f64>() / 3.0);
    known("lowest", cosines[0]);
    // numpy.quantile(cosines, 0.01)
    known("p01", 0.712_763_635_436_04);
    assert_eq!((&figures["metric"], &figures["rows"]), (&json!("cosine"), &json!(3)), "{report}");
    assert_eq!(report["reference"]["name"], "same.onnx", "{report}");
    let own = ["same.onnx", "--reference", "same.onnx", "--data", "rows.csv", "--metric", "cosine"];
    assert_eq!(desk.evaluated(&own)["runs"][0]["figures"]["lowest"], 1.0);
    let said = desk.refused_on_tract(&["same.onnx", "--data", "rows.csv", "--metric", "cosine"]);
    assert!(said.contains("name it with `--reference MODEL`"), "{said}");
    // A vector without direction has no cosine.
    desk.write("rows.csv", "a,b\n1,0\n0,0\n1,-1\n");
    desk.write("moved.onnx", model(&rows(&[2]), &[&[1.0, 0.0], &[0.0, 1.0]], &[1.0, 0.0], None));
    let moved = ["moved.onnx", "--reference", "same.onnx", "--data", "rows.csv"];
    let said = desk.refused_on_tract(&[&moved[..], &["--metric", "cosine"]].concat());
    assert!(said.contains("row 2") && said.contains("no direction"), "{said}");
}

#[test]
fn a_model_that_no_backend_loads_is_explained_once_for_each() {
    let desk = Desk::without_library();
    let mut graph = Graph::new("cut");
    let sizes = rows(&[2, 2]);
    graph.inputs.push(ValueInfo::tensor("x", ElementType::FLOAT, &sizes));
    // Tract has no determinants.
    graph.nodes.push(Node::new("Det", &["x"], &["y"]));
    graph.outputs.push(ValueInfo::tensor("y", ElementType::FLOAT, &sizes[..1]));
    desk.write("cut.onnx", Model::new(graph, 17).write().expect("sound"));
    desk.write("line.onnx", line());
    desk.write("rows.csv", "a,b\n1,1\n2,0\n");
    let run = |arguments: &[&str]| {
        let output = desk.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        String::from_utf8([output.stdout, output.stderr].concat()).expect("text")
    };
    let data = ["--data", "rows.csv"];
    let evaluate = [&["evaluate", "cut.onnx", "--backend", "tract"], &data[..]].concat();
    let reference =
        [&["evaluate", "line.onnx", "--reference", "cut.onnx", "--backend", "tract"], &data[..]];
    let optimize = [&["optimize", "cut.onnx", "-o", "s.onnx"], &data[..]].concat();
    for said in [run(&evaluate), run(&reference.concat()), run(&optimize)] {
        for once in ["cannot be loaded", "`tract` cannot load it", "Det"] {
            assert_eq!(said.matches(once).count(), 1, "{once}: {said}");
        }
    }
}

/// The vectors of tokens 0 to 3, of which 0 fills rows up. Takes the mask as encoders of texts do.
fn encoder(vectors: [[f32; 2]; 4], takes_mask: bool) -> Vec<u8> {
    let sizes = ["n", "t"].map(|name| Size::Named(name.into()));
    let mut graph = Graph::new("encoder");
    graph.inputs.push(ValueInfo::tensor("input_ids", ElementType::INT64, &sizes));
    graph.initialisers.push(Tensor::new("vectors", &[4, 2], vectors.as_flattened()));
    let gathered = if takes_mask { "gathered" } else { "last_hidden_state" };
    graph.nodes.push(Node::new("Gather", &["vectors", "input_ids"], &[gathered]));
    if takes_mask {
        graph.inputs.push(ValueInfo::tensor("attention_mask", ElementType::INT64, &sizes));
        graph.initialisers.push(Tensor::new("last", &[1], &[2_i64]));
        graph.initialisers.push(Tensor::new("nothing", &[1], &[0.0_f32]));
        let nodes = [
            Node::new("Cast", &["attention_mask"], &["mask"]).with("to", 1_i64),
            Node::new("Unsqueeze", &["mask", "last"], &["masks"]),
            Node::new("Mul", &["masks", "nothing"], &["zeros"]),
            Node::new("Add", &["gathered", "zeros"], &["last_hidden_state"]),
        ];
        graph.nodes.extend(nodes);
    }
    let sizes = [&sizes[..], &[Size::Fixed(2)]].concat();
    graph.outputs.push(ValueInfo::tensor("last_hidden_state", ElementType::FLOAT, &sizes));
    Model::new(graph, 17).write().expect("sound")
}

#[test]
fn vectors_of_tokens_are_pooled_over_the_mask() {
    let desk = Desk::without_library();
    let first = [[9.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]];
    let second = [[0.0, 9.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]];
    for (name, vectors) in [("first.onnx", first), ("second.onnx", second)] {
        desk.write(name, encoder(vectors, true));
        desk.write(&format!("bare-{name}"), encoder(vectors, false));
    }
    let whole = |numbers: [i64; 6]| {
        let data: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        hospes::tensor::Tensor::new(DataType::I64, vec![2, 3], data.into()).expect("fits")
    };
    let (ids, mask) = (whole([1, 2, 0, 1, 3, 3]), whole([1, 1, 0, 1, 1, 1]));
    let rows = write_npz([("input_ids", &ids), ("attention_mask", &mask)]).expect("written");
    desk.write("rows.npz", rows);
    desk.write("bare.npz", write_npz([("input_ids", &ids)]).expect("written"));
    let both = ["second.onnx", "--reference", "first.onnx", "--data", "rows.npz"];
    let cosine = |more: &[&str]| {
        let report = desk.evaluated(&[&both[..], more].concat());
        assert_eq!(report["metric"], report["runs"][0]["figures"]["metric"]);
        let mean = report["runs"][0]["figures"]["mean"].as_f64().expect("a number");
        (report["metric"].clone(), (mean * 1e6).round() / 1e6)
    };
    // The means are (1, 1) / 2 of both; then (3, 2) / 3 and (2, 1) / 3, whose cosine is 8 / sqrt(65).
    assert_eq!(cosine(&["--pool", "mean"]), (json!("cosine (mean-pooled)"), 0.996_139));
    // Of all numbers, with those of what fills up: 0, and 2 / sqrt(15).
    assert_eq!(cosine(&["--metric", "cosine"]), (json!("cosine"), 0.258_199));
    assert_eq!(cosine(&["--pool", "cls"]), (json!("cosine (first token)"), 0.0));
    let table = desk.run(&[&["evaluate"], &both[..], &["--pool", "mean"]].concat());
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("COSINE (MEAN-POOLED)") && table.contains("lowest 0.9923"), "{table}");
    let optimize = ["optimize", "first.onnx", "--data", "rows.npz", "--only", "graph"];
    let optimize = [&optimize[..], &["-o", "s.onnx", "--pool", "mean"]].concat();
    assert_eq!(desk.json(1, &optimize)["compared_by"], "cosine (mean-pooled)");

    let refused =
        |arguments: &[&str]| desk.refused_on_tract(&[arguments, &["--pool", "mean"]].concat());
    let bare = ["bare-second.onnx", "--reference", "bare-first.onnx", "--data", "bare.npz"];
    let said = refused(&bare);
    assert!(said.contains("the rows have no `attention_mask`"), "{said}");
    let said = refused(&[&both[..], &["--metric", "accuracy"]].concat());
    assert!(said.contains("`--pool` makes vectors, which `cosine` compares"), "{said}");
    desk.write("line.onnx", line());
    desk.write("rows.csv", "a,b\n1,1\n2,0\n");
    let said = refused(&["line.onnx", "--reference", "line.onnx", "--data", "rows.csv"]);
    assert!(said.contains("has shape [1] for a row") && said.contains("`--output`"), "{said}");
}

#[test]
fn labels_that_look_like_fractions_are_classes_when_asked() {
    let desk = Desk::without_library();
    let scores = model(&rows(&[2]), &[&[1.0, 0.0], &[0.0, 1.0]], &[0.0, 0.0], None);
    desk.write("scores.onnx", scores);
    desk.write("rows.csv", "a,b,y\n1,0,0.0\n0,1,1.0\n0,2,1.0\n");
    let said = desk.refused_on_tract(&["scores.onnx", "--data", "rows.csv"]);
    let advice = "labels are read as numbers; `--metric accuracy` reads them as classes";
    assert!(said.contains(advice), "{said}");
    let report = desk.evaluated(&["scores.onnx", "--data", "rows.csv", "--metric", "accuracy"]);
    assert_eq!(report["runs"][0]["figures"]["value"], 1.0, "{report}");
}

#[test]
fn folders_of_pictures_are_matched_by_the_model_s_names_for_its_classes() {
    let desk = Desk::without_library();
    // Sorted by name, `bright` comes first; the model answers `dark` first.
    for (name, value) in [
        ("p/dark/1.png", 10),
        ("p/dark/2.png", 90),
        ("p/bright/1.png", 250),
        ("p/bright/2.png", 20),
    ] {
        desk.grey(name, value);
    }
    desk.write("named.onnx", bright(Some(&["dark", "bright"])));
    let report = desk.evaluated(&["named.onnx", "--data", "p", "--divide", "255"]);
    let figures = &report["runs"][0]["figures"];
    assert_eq!((&figures["hits"], &figures["rows"]), (&json!(3), &json!(4)), "{report}");
    assert_eq!(figures["confusion"]["names"], json!(["bright", "dark"]));
    assert_eq!(figures["confusion"]["counts"], json!([[1, 1], [0, 2]]));
    let said = desk.refused_on_tract(&["named.onnx", "--data", "p"]);
    assert!(said.contains("`--divide 255`"), "{said}");
    desk.grey("p/grey/1.png", 128);
    let said = desk.refused_on_tract(&["named.onnx", "--data", "p", "--divide", "255"]);
    assert!(said.contains("`grey`, which the model does not know"), "{said}");
}

#[test]
fn a_pair_of_idx_files_is_measured() {
    let desk = Desk::without_library();
    desk.write("bright.onnx", bright(Some(&["dark", "bright"])));
    let head = [0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 2];
    let pixels = [[3; 4], [240; 4], [200; 4]].concat();
    desk.write("t-images-idx3-ubyte", [&head[..], &pixels].concat());
    desk.write("t-labels-idx1-ubyte", [0, 0, 8, 1, 0, 0, 0, 3, 0, 1, 0]);
    let report = desk.evaluated(&["bright.onnx", "--data", "t", "--divide", "255"]);
    let figures = &report["runs"][0]["figures"];
    assert_eq!((&figures["hits"], &figures["rows"]), (&json!(2), &json!(3)), "{report}");
    assert_eq!(report["data"]["sources"].as_array().map(Vec::len), Some(2));
    desk.write("t-labels-idx1-ubyte", [0, 0, 8, 1, 0, 0, 0, 2, 0, 1]);
    let said = desk.refused_on_tract(&["bright.onnx", "--data", "t", "--divide", "255"]);
    assert!(said.contains("it has 2 rows, and `image` has 3"), "{said}");
}

/// A table of two numbers and a label, as pandas writes it: any number may be missing, which is `NAN` here.
pub(crate) fn parquet(columns: [&[f64]; 2], labels: &[i64]) -> Vec<u8> {
    let schema = "message t { OPTIONAL DOUBLE a; OPTIONAL DOUBLE b; REQUIRED INT64 y; }";
    let schema = Arc::new(parse_message_type(schema).expect("a schema"));
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties).expect("a writer");
    let mut group = writer.next_row_group().expect("a group");
    for numbers in columns {
        let is_there: Vec<i16> = numbers.iter().map(|number| (!number.is_nan()).into()).collect();
        let there: Vec<f64> = numbers.iter().copied().filter(|number| !number.is_nan()).collect();
        let mut column = group.next_column().expect("a column").expect("one more");
        let typed = column.typed::<DoubleType>();
        typed.write_batch(&there, Some(&is_there), None).expect("written");
        column.close().expect("closed");
    }
    let mut column = group.next_column().expect("a column").expect("the last");
    column.typed::<Int64Type>().write_batch(labels, None, None).expect("written");
    column.close().expect("closed");
    group.close().expect("closed");
    writer.into_inner().expect("whole")
}

/// What [`line`] answers.
pub(crate) fn parquet_table() -> Vec<u8> {
    parquet([&[1.0, 2.0, 0.0, 4.0], &[1.0, 0.0, 3.0, 4.0]], &[6, 5, 10, 21])
}

#[test]
fn a_parquet_table_is_measured() {
    let desk = Desk::without_library();
    desk.write("line.onnx", line());
    let whole = parquet_table();
    desk.write("rows.parquet", &whole);
    let report = desk.evaluated(&["line.onnx", "--data", "rows.parquet"]);
    assert_eq!(report["runs"][0]["figures"]["value"], 1.0, "{report}");
    desk.write("cut.parquet", &whole[..whole.len() / 2]);
    let said = desk.refused_on_tract(&["line.onnx", "--data", "cut.parquet"]);
    assert!(said.contains("cannot be read as Parquet"), "{said}");
}

#[test]
fn figures_other_than_the_trainer_s_are_found() {
    let desk = Desk::without_library();
    desk.write("line.onnx", line());
    desk.write("rows.csv", "a,b,y\n1,1,6\n2,0,5\n0,3,10\n4,4,21\n");
    let plain = ["line.onnx", "--data", "rows.csv"];
    let digest = desk.evaluated(&plain)["data"]["sha256"].clone();
    let report = |r2: f64, digest: &Value| {
        let metrics = json!({ "r2": r2, "loss": 0.0, "validation_r2": 1.0 });
        let recipe = json!({ "native": {} });
        json!({ "metrics": metrics, "recipe": recipe, "data": { "test": { "sha256": digest } } })
    };
    let compared = [&plain[..], &["--report", "report.json"]].concat();
    desk.write("report.json", report(1.0, &digest).to_string());
    let same = desk.evaluated(&compared);
    assert_eq!(same["reported"]["differs"], json!([]), "{same}");
    desk.write("report.json", report(0.9, &digest).to_string());
    let other = desk.json(1, &[&["evaluate"], &compared[..], &["--backend", "tract"]].concat());
    assert_eq!(other["reported"]["differs"], json!(["tract"]), "{other}");
    assert_eq!(other["reported"]["value"], 0.9);
    let elsewhere = json!(format!("sha256:{}", "0".repeat(64)));
    desk.write("report.json", report(1.0, &elsewhere).to_string());
    let said = desk.refused_on_tract(&compared);
    assert!(said.contains("has no figures of these rows") && said.contains("`test`"), "{said}");
    let silent = json!({ "metrics": { "loss": 0.1 }, "recipe": { "native": {} }, "data": {} });
    desk.write("report.json", silent.to_string());
    let said = desk.refused_on_tract(&compared);
    assert!(said.contains("no figures of held-out rows"), "{said}");
    desk.write("bare.csv", "a,b\n1,1\n2,0\n");
    let said =
        desk.refused_on_tract(&["line.onnx", "--data", "bare.csv", "--report", "report.json"]);
    assert!(said.contains("no figure to compare") && said.contains("`--label`"), "{said}");
    let part = desk.run(&[&["evaluate"], &compared[..], &["--rows", "2"]].concat());
    assert_eq!(part.status.code(), Some(2), "a part of the rows has figures of its own");
}

#[test]
fn a_report_with_a_figure_for_each_backend_is_compared_by_backend() {
    let desk = Desk::without_library();
    desk.write("line.onnx", line());
    desk.write("rows.csv", "a,b,y\n1,1,6\n2,0,5\n0,3,10\n4,4,21\n");
    let plain = ["line.onnx", "--data", "rows.csv"];
    let compared = [&plain[..], &["--report", "report.json"]].concat();
    let own = desk.evaluated(&plain);
    let report = |onnxruntime: f64, tract: f64, places: [&str; 2]| {
        let mut report = own.clone();
        let runs = [onnxruntime, tract].into_iter().zip(places).map(|(value, place)| {
            let mut run = own["runs"].as_array().and_then(|runs| runs.last()).expect("one").clone();
            run["place"] = json!(place);
            run["figures"]["value"] = json!(value);
            run
        });
        report["runs"] = runs.collect();
        desk.write("report.json", report.to_string());
    };
    let places = ["onnxruntime", "tract"];
    // They differ in the last digit.
    report(1.0 - f64::EPSILON, 1.0, places);
    let same = desk.evaluated(&compared);
    assert_eq!(same["reported"]["differs"], json!([]), "{same}");
    report(1.0, 0.9, places);
    let other = desk.json(1, &[&["evaluate"], &compared[..], &["--backend", "tract"]].concat());
    assert_eq!(other["reported"]["differs"], json!(["tract"]), "{other}");
    assert_eq!(other["reported"]["value"], 0.9);
    report(1.0, 0.9, ["onnxruntime", "published"]);
    let said = desk.refused_on_tract(&compared);
    assert!(said.contains("it has `r2 (onnxruntime)`, `r2 (published)`"), "{said}");
    // The same rows with another model.
    let mut report = own.clone();
    report["model"] =
        json!({ "name": "run/old.onnx", "sha256": format!("sha256:{}", "0".repeat(64)) });
    desk.write("report.json", report.to_string());
    let other = desk.evaluated(&compared);
    let note = other["notes"][0].as_str().expect("a note");
    assert!(note.contains("about another model: `run/old.onnx`, sha256:0000"), "{note}");
    let cosine = [&compared[..], &["--reference", "line.onnx", "--metric", "cosine"]].concat();
    let said = desk.refused_on_tract(&cosine);
    assert!(said.contains("error: report.json is about another model"), "{said}");
}

/// Folders whose names are other numbers than the places of their classes, with ties.
fn numbered(desk: &Desk) {
    for (name, value) in [
        ("n/1/a.png", 50),
        ("n/1/tie.png", 100),
        ("n/2/a.png", 150),
        ("n/2/tie.png", 200),
        ("n/3/a.png", 250),
        ("n/3/wrong.png", 200),
    ] {
        desk.grey(name, value);
    }
    desk.write("three.onnx", three());
}

/// Makes [`numbered`]'s model no smaller.
const OPTIMIZE_THREE: [&str; 10] =
    ["optimize", "three.onnx", "--data", "n", "--divide", "1", "--only", "graph", "-o", "s.onnx"];

#[test]
fn evaluate_and_optimize_find_the_same_accuracy() {
    let desk = Desk::without_library();
    numbered(&desk);
    let report = desk.evaluated(&["three.onnx", "--data", "n", "--divide", "1"]);
    assert_eq!(report["runs"][0]["figures"]["hits"], 5, "{report}");
    // Six rows prove nothing, so nothing is written; the accuracy is there all the same.
    let report = desk.json(1, &OPTIMIZE_THREE);
    assert_eq!(report["compared_by"], "accuracy", "{report}");
    let verdicts = report["verdicts"].as_array().expect("verdicts");
    let value = verdicts.iter().find_map(|verdict| verdict["loss"]["value"].as_f64());
    assert_eq!(value, Some(5.0 / 6.0), "{report}");
    // Models of numbers are compared as such.
    desk.write("line.onnx", line());
    desk.write("rows.csv", "a,b\n1,1\n2,0\n0,3\n4,4\n");
    let report = desk.json(
        1,
        &["optimize", "line.onnx", "--data", "rows.csv", "--only", "graph", "-o", "s.onnx"],
    );
    assert_eq!(report["compared_by"], "r2", "{report}");
}

#[test]
fn optimize_says_when_the_processor_has_no_vnni() {
    let desk = Desk::without_library();
    numbered(&desk);
    let output = desk.run(&OPTIMIZE_THREE);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let machine = &desk.json(1, &OPTIMIZE_THREE)["machine"]["vnni"];
    let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has = ["avx512_vnni", "avx_vnni"].iter().any(|flag| flags.contains(flag));
    if flags.lines().any(|line| line.starts_with("flags")) {
        assert_eq!(*machine, json!(has), "{said}");
    }
    assert_eq!(said.contains("this machine has no VNNI"), *machine == json!(false), "{said}");
    if *machine != json!(false) {
        let _ = writeln!(
            std::io::stderr(),
            "skipped: this processor has VNNI or does not say, so what is said without it was not shown"
        );
    }
}

#[test]
fn a_bundle_says_which_backend_must_compute_its_model() {
    let desk = Desk::without_library();
    desk.write("line.onnx", line());
    let pack = ["pack", "line.onnx", "--name", "line", "-o", "line.wasm", "--force"];
    let packed = |more: &[&str]| desk.run(&[&pack[..], more].concat());
    let backend =
        || desk.json(0, &["inspect", "line.wasm"])["manifest"]["models"][0]["backend"].clone();
    assert!(packed(&["--backend", "tract"]).status.success());
    assert_eq!(backend(), "tract");
    assert!(packed(&[]).status.success());
    assert!(backend().is_null(), "the host chooses");
    let unknown = packed(&["--backend", "tensorflow"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", String::from_utf8_lossy(&unknown.stderr));
}
