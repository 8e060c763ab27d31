//! `hospes convert --recipe`: weights without a graph answer in the network of a recipe as arithmetic says, and as PyTorch does; those that do
//! not fit are refused, and nothing is guessed.

use std::path::Path;
use std::process::{Command, Output};

use hospes::data::write_npz;
use hospes::onnx::Model;
use hospes::tensor::{DataType, Tensor};
use serde_json::{Map, Value, json};
use system_tests::{HostProcess, built, workspace};

use super::training::{bars, has_pytorch, write};

/// A tensor of weights: name, shape, numbers.
type Weight<'w> = (&'w str, &'w [usize], Vec<f64>);

/// Numbers that look random, from -1 to 1.
fn numbers(count: usize, seed: u32) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 16) / 32_768.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn floats(numbers: &[f64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| (*number as f32).to_le_bytes()).collect()
}

/// A safetensors file.
fn safetensors(weights: &[Weight<'_>]) -> Vec<u8> {
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (name, shape, numbers) in weights {
        let from = data.len();
        data.extend(floats(numbers));
        let member = json!({"dtype": "F32", "shape": shape, "data_offsets": [from, data.len()]});
        header.insert((*name).to_owned(), member);
    }
    let header = Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

fn tensor(kind: DataType, shape: &[usize], data: Vec<u8>) -> Tensor {
    Tensor::new(kind, shape.to_vec(), data.into()).expect("as many as its shape says")
}

/// Rows with the answers to them.
fn rows(path: &Path, input: (&str, &Tensor), expected: &[Vec<f64>]) {
    let shape = [expected.len(), expected[0].len()];
    let expected = tensor(DataType::F32, &shape, floats(&expected.concat()));
    write(path, write_npz([input, ("expected", &expected)]).expect("numbers"));
}

fn convert(folder: &Path, weights: &str, recipe: &str, rows: &str, more: &[&str]) -> Output {
    let mut command = HostProcess::command();
    command.args(["--json", "convert", weights, "--recipe", recipe, "--verify", rows]);
    command.args(["-o", "model.onnx", "--force"]).args(more).current_dir(folder);
    command.env("HOSPES_DATA", built("runtime")).env("HOME", folder);
    command.output().expect("it runs")
}

/// Both backends gave so many numbers as expected.
#[track_caller]
fn agree(output: &Output, numbers: u64) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let compared = report["compared"].as_array().expect("a list").iter();
    let mut found: Vec<(&str, u64)> = compared
        .map(|one| {
            (one["backend"].as_str().expect("text"), one["numbers"].as_u64().expect("a count"))
        })
        .collect();
    found.sort_unstable();
    assert_eq!(found, [("onnxruntime", numbers), ("tract", numbers)], "{report}");
}

#[track_caller]
fn refused(folder: &Path, output: &Output, wanted: &[&str]) {
    let said = String::from_utf8_lossy(&[&output.stderr[..], &output.stdout].concat()).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(wanted.iter().all(|wanted| said.contains(wanted)), "{wanted:?}: {said}");
    assert!(!folder.join("model.onnx").exists(), "{said}");
}

/// `weight · x + bias`, with PyTorch's `[outputs, inputs]`.
fn linear(weight: &[f64], bias: &[f64], x: &[f64]) -> Vec<f64> {
    let product = |row: &[f64]| row.iter().zip(x).map(|(weight, x)| weight * x).sum::<f64>();
    weight.chunks(x.len()).zip(bias).map(|(row, bias)| product(row) + bias).collect()
}

fn relu(x: Vec<f64>) -> Vec<f64> {
    x.into_iter().map(|x| x.max(0.0)).collect()
}

/// A table, and weights for its network of 3 units.
struct Table {
    folder: tempfile::TempDir,
    first: (Vec<f64>, Vec<f64>),
    last: (Vec<f64>, Vec<f64>),
}

const ROWS: [[f64; 2]; 5] = [[0.0, 1.0], [2.0, 3.0], [-1.5, 0.25], [6.0, 1.0], [3.0, 2.0]];

impl Table {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // The means are 3 and 2, the deviations the root of 5 and 1.
        write(&folder.path().join("train.csv"), "x1,x2,y\n0,1,no\n2,1,yes\n4,3,no\n6,3,yes\n");
        let (first, last) = ((numbers(6, 1), numbers(3, 2)), (numbers(6, 3), numbers(2, 4)));
        let table = Self { folder, first, last };
        table.recipe("widths = [3]");
        write(&table.path("w.safetensors"), safetensors(&table.weights()));
        table
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn recipe(&self, more: &str) {
        let recipe = format!(
            "[data]\ntrain = {{ path = \"train.csv\" }}\n[native]\ntask = \"table\"\ntarget = \"y\"\narchitecture = \"mlp\"\n{more}\n"
        );
        write(&self.path("table.toml"), recipe);
    }

    fn weights(&self) -> Vec<Weight<'static>> {
        let (first, last) = (self.first.clone(), self.last.clone());
        let all: [Weight<'static>; 4] = [
            ("net.fc1.weight", &[3, 2], first.0),
            ("net.fc1.bias", &[3], first.1),
            ("net.fc2.weight", &[2, 3], last.0),
            ("net.fc2.bias", &[2], last.1),
        ];
        all.into()
    }

    /// Writes the rows, with the answers to what `prepared` makes of each.
    fn rows(&self, prepared: fn([f64; 2]) -> [f64; 2]) {
        let given = tensor(DataType::F32, &[5, 2], floats(&ROWS.concat()));
        let answers = ROWS.map(|row| self.answer(prepared(row)));
        rows(&self.path("rows.npz"), ("row", &given), &answers);
    }

    fn answer(&self, prepared: [f64; 2]) -> Vec<f64> {
        let hidden = relu(linear(&self.first.0, &self.first.1, &prepared));
        linear(&self.last.0, &self.last.1, &hidden)
    }

    fn convert(&self, more: &[&str]) -> Output {
        convert(self.folder.path(), "w.safetensors", "table.toml", "rows.npz", more)
    }

    #[track_caller]
    fn refused(&self, weights: &[Weight<'_>], wanted: &[&str]) {
        write(&self.path("w.safetensors"), safetensors(weights));
        refused(self.folder.path(), &self.convert(&[]), wanted);
    }
}

/// As the recipe's training scales the table.
fn standard([x1, x2]: [f64; 2]) -> [f64; 2] {
    [(x1 - 3.0) / 5_f64.sqrt(), x2 - 2.0]
}

#[test]
fn weights_answer_in_the_network_of_a_recipe_as_arithmetic_says() {
    let table = Table::new();
    table.rows(standard);
    agree(&table.convert(&[]), 10);
    let model = std::fs::read(table.path("model.onnx")).expect("written");
    let model = Model::read(model).expect("ONNX");
    assert_eq!(model.metadata("hospes.classes"), Some(r#"["no","yes"]"#));
    std::fs::remove_file(table.path("model.onnx")).expect("written");
    // The same weights learnt from the numbers as they are.
    table.rows(|row| row);
    refused(
        table.folder.path(),
        &table.convert(&[]),
        &["row ", "nothing was written", "`--divide`"],
    );
    agree(&table.convert(&["--divide", "1"]), 10);
    table.rows(|[x1, x2]| [(x1 / 2.0 - 1.0) / 4.0, (x2 / 2.0 - 3.0) / 5.0]);
    agree(&table.convert(&["--divide", "2", "--mean", "1,3", "--deviation", "4,5"]), 10);
}

#[test]
fn answers_without_a_finite_number_prove_nothing() {
    let table = Table::new();
    let missing = tensor(DataType::F32, &[5, 2], floats(&[f64::NAN; 10]));
    rows(&table.path("rows.npz"), ("row", &missing), &[[f64::NAN; 2]; 5].map(Vec::from));
    let wanted = ["`expected` has no finite number", "answers numbers"];
    refused(table.folder.path(), &table.convert(&[]), &wanted);
}

#[test]
fn the_order_of_the_classes_is_shown_and_how_many_labels_the_answers_meet() {
    let table = Table::new();
    let answers = ROWS.map(|row| table.answer(standard(row)));
    let converted = |turned: bool| {
        let labels = answers.iter().flat_map(|answer| {
            let highest = answer[1] > answer[0];
            i64::from(highest != turned).to_le_bytes()
        });
        let labels = tensor(DataType::I64, &[5], labels.collect());
        let given = tensor(DataType::F32, &[5, 2], floats(&ROWS.concat()));
        let expected = tensor(DataType::F32, &[5, 2], floats(&answers.concat()));
        let all = write_npz([("row", &given), ("y", &labels), ("expected", &expected)]);
        write(&table.path("rows.npz"), all.expect("numbers"));
        let output = table.convert(&[]);
        agree(&output, 10);
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    };
    let report = converted(false);
    assert_eq!((&report["classes"], &report["labels_met"]), (&json!(["no", "yes"]), &json!(5)));
    assert_eq!(converted(true)["labels_met"], 0);
    let mut command = HostProcess::command();
    command.args(["convert", "w.safetensors", "--recipe", "table.toml", "--verify", "rows.npz"]);
    command.args(["-o", "model.onnx", "--force"]).current_dir(table.folder.path());
    command.env("HOSPES_DATA", built("runtime")).env("HOME", table.folder.path());
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    for wanted in ["classes  0 = no, 1 = yes", "in 0 of 5 rows", "another order than the recipe's"]
    {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
}

#[test]
fn a_predicted_number_is_in_its_own_units() {
    let folder = tempfile::tempdir().expect("a folder");
    // The means are 3 and 15, the deviations the roots of 3.5 and 14.75.
    write(&folder.path().join("train.csv"), "x,y\n1,10.5\n2,12.5\n3,16.5\n6,20.5\n");
    let recipe = "[data]\ntrain = { path = \"train.csv\" }\n[native]\ntask = \"table\"\ntarget = \"y\"\narchitecture = \"head\"\n";
    write(&folder.path().join("table.toml"), recipe);
    let weights: [Weight<'_>; 2] = [("weight", &[1, 1], vec![0.75]), ("bias", &[1], vec![-0.25])];
    write(&folder.path().join("w.safetensors"), safetensors(&weights));
    let converted = |answer: fn(f64) -> f64, more: &[&str]| {
        let xs = [1.0, 4.5];
        let given = tensor(DataType::F32, &[2, 1], floats(&xs));
        rows(&folder.path().join("rows.npz"), ("row", &given), &xs.map(|x| vec![answer(x)]));
        convert(folder.path(), "w.safetensors", "table.toml", "rows.npz", more)
    };
    let standard = |x: f64| (0.75 * (x - 3.0) / 3.5_f64.sqrt() - 0.25) * 14.75_f64.sqrt() + 15.0;
    agree(&converted(standard, &[]), 2);
    agree(&converted(|x| 0.75 * x - 0.25, &["--divide", "1"]), 2);
}

#[test]
fn filters_answer_on_pictures_as_arithmetic_says() {
    let folder = tempfile::tempdir().expect("a folder");
    bars(folder.path(), "a", 100);
    let recipe = "[data]\ntrain = { path = \"a\" }\n[native]\ntask = \"image\"\narchitecture = \"cnn\"\nwidths = [2]\n";
    write(&folder.path().join("bars.toml"), recipe);
    let (filters, moved) = (numbers(18, 5), numbers(2, 6));
    let (weight, bias) = (numbers(64, 7), numbers(2, 8));
    // The names say nothing of the order: convolutions come first.
    let weights: [Weight<'_>; 4] = [
        ("classifier.weight", &[2, 32], weight.clone()),
        ("classifier.bias", &[2], bias.clone()),
        ("features.0.weight", &[2, 1, 3, 3], filters.clone()),
        ("features.0.bias", &[2], moved.clone()),
    ];
    write(&folder.path().join("w.safetensors"), safetensors(&weights));
    let answer = |picture: &[u8]| {
        let at = |y: usize, x: usize| match (y.checked_sub(1), x.checked_sub(1)) {
            // The edge of zeros.
            (Some(y @ ..8), Some(x @ ..8)) => (f64::from(picture[y * 8 + x]) / 255.0 - 0.5) / 0.25,
            _ => 0.0,
        };
        let mut pooled = Vec::new();
        for (filter, moved) in filters.chunks(9).zip(&moved) {
            let convolved = |y: usize, x: usize| {
                let each = (0..9).map(|tap| filter[tap] * at(y + tap / 3, x + tap % 3));
                (each.sum::<f64>() + moved).max(0.0)
            };
            for (y, x) in (0..16).map(|cell| (cell / 4 * 2, cell % 4 * 2)) {
                let four =
                    [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(dy, dx)| convolved(y + dy, x + dx));
                pooled.push(four.into_iter().fold(0.0, f64::max));
            }
        }
        linear(&weight, &bias, &pooled)
    };
    let pictures: Vec<u8> = numbers(3 * 64, 9).iter().map(|n| (n.abs() * 255.0) as u8).collect();
    let expected: Vec<Vec<f64>> = pictures.chunks(64).map(answer).collect();
    let given = tensor(DataType::U8, &[3, 8, 8], pictures);
    rows(&folder.path().join("rows.npz"), ("image", &given), &expected);
    let stated = ["--divide", "255", "--mean", "0.5", "--deviation", "0.25"];
    agree(&convert(folder.path(), "w.safetensors", "bars.toml", "rows.npz", &stated), 6);
    // Scaled beforehand.
    std::fs::remove_file(folder.path().join("model.onnx")).expect("written");
    let scaled: Vec<f64> = given.numbers().expect("bytes").iter().map(|n| n / 255.0).collect();
    let scaled = tensor(DataType::F32, &[3, 8, 8], floats(&scaled));
    rows(&folder.path().join("rows.npz"), ("image", &scaled), &expected);
    let output = convert(folder.path(), "w.safetensors", "bars.toml", "rows.npz", &stated);
    refused(
        folder.path(),
        &output,
        &["row 1 of the FP32 array", "no byte", "as they are in the files"],
    );
}

#[test]
fn weights_that_do_not_fit_are_refused_by_name_and_shape() {
    let table = Table::new();
    table.rows(standard);
    let sound = table.weights();
    let mut turned = sound.clone();
    turned[0].1 = &[2, 3];
    table.refused(&turned, &["(`net.fc1.weight`, `net.fc2.weight`)", "shape [2, 3]", "[3, 2]"]);
    let mut wide = sound.clone();
    wide[2] = ("net.fc2.weight", &[2, 4], numbers(8, 1));
    table.refused(&wide, &["`net.fc2.weight` has shape [2, 4]", "layer 2", "wants [2, 3]"]);
    table.refused(&sound[..2], &["layer 2", "shape [2, 3]", "torch.onnx.export"]);
    let more = ("norm.running_mean", &[3][..], numbers(3, 1));
    let wanted = ["`norm.running_mean` of shape [3]", "batch normalisation", "torch.onnx.export"];
    table.refused(&[&sound[..], &[more]].concat(), &wanted);
    let more = ("gate.scale", &[3][..], numbers(3, 1));
    table.refused(&[&sound[..], &[more]].concat(), &["`gate.scale` of shape [3] is no `weight`"]);
    // Two layers of one shape, and no order.
    table.recipe("widths = [3, 3, 3]");
    let square = |layer: &'static [&'static str; 2], seed| -> [Weight<'static>; 2] {
        [(layer[0], &[3, 3], numbers(9, seed)), (layer[1], &[3], numbers(3, seed))]
    };
    let (wide, deep) =
        (square(&["wide.weight", "wide.bias"], 1), square(&["deep.weight", "deep.bias"], 2));
    let both = [&sound[..], &wide, &deep].concat();
    table.refused(&both, &["`wide.weight`", "`deep.weight`", "both have shape [3, 3]"]);
    table.recipe("widths = [3]");
    table.refused(&[("net.fc1.weight", &[3, 2], vec![f64::NAN; 6])], &["not finite"]);
}

#[test]
fn a_conversion_of_weights_says_what_it_needs() {
    let table = Table::new();
    let folder = table.folder.path();
    let given = tensor(DataType::F32, &[5, 2], floats(&ROWS.concat()));
    write(&table.path("rows.npz"), write_npz([("row", &given)]).expect("numbers"));
    refused(folder, &table.convert(&[]), &["nothing to compare", "expected=module("]);
    table.rows(standard);
    let three = table.convert(&["--mean", "1,2,3"]);
    refused(folder, &three, &["`--mean` has 3 numbers", "or 2, one for each"]);
    let said = String::from_utf8_lossy(&[&three.stderr[..], &three.stdout].concat()).into_owned();
    assert!(!said.contains("architecture"), "{said}");
    refused(folder, &table.convert(&["--divide", "0"]), &["`--divide` is 0"]);
    let mut command = HostProcess::command();
    command.args(["convert", "w.safetensors", "--verify", "rows.npz", "-o", "model.onnx"]);
    command.env("HOSPES_DATA", built("runtime")).env("HOME", folder).current_dir(folder);
    let alone = command.output().expect("it runs");
    refused(folder, &alone, &["no graph", "`--recipe`", "torch.onnx.export"]);
    write(
        &table.path("table.toml"),
        "[data]\ntrain = { path = \"train.csv\" }\n[command]\nargv = [\"train.py\"]\n",
    );
    refused(folder, &table.convert(&[]), &["only the script of this recipe"]);
}

#[test]
fn a_table_with_texts_says_how_many_inputs_its_columns_become() {
    let folder = tempfile::tempdir().expect("a folder");
    let table = "x,town,y\n0,Bern,no\n2,Chur,yes\n4,Bern,no\n6,Genf,yes\n";
    write(&folder.path().join("train.csv"), table);
    let recipe = "[data]\ntrain = { path = \"train.csv\" }\n[native]\ntask = \"table\"\ntarget = \"y\"\narchitecture = \"head\"\n";
    write(&folder.path().join("table.toml"), recipe);
    let weights: [Weight<'_>; 2] =
        [("weight", &[2, 2], numbers(4, 1)), ("bias", &[2], numbers(2, 2))];
    write(&folder.path().join("w.safetensors"), safetensors(&weights));
    let given = tensor(DataType::F32, &[1, 2], floats(&[0.0, 1.0]));
    rows(&folder.path().join("rows.npz"), ("row", &given), &[vec![0.0, 1.0]]);
    let output = convert(folder.path(), "w.safetensors", "table.toml", "rows.npz", &[]);
    let wanted = ["shape [2, 2]", "wants [2, 4]", "become 4 inputs", "with 3 categories in all"];
    refused(folder.path(), &output, &wanted);
}

/// A checkpoint of a LeNet, and linear layers of one shape: `tests/oracle/state_dicts.py`.
#[test]
fn state_dicts_of_pytorch_answer_as_their_modules_do() {
    if !has_pytorch() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let script = workspace().join("tests/oracle/state_dicts.py");
    let made = Command::new("/usr/bin/python3").arg(script).arg(folder.path()).output();
    let made = made.expect("it runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let stated = ["--divide", "255", "--mean", "0.3", "--deviation", "0.4"];
    for (name, network) in [("lenet", "lenet\""), ("mlp", "mlp\"\nwidths = [32, 32, 32]")] {
        let recipe = format!(
            "[data]\ntrain = {{ path = \"train\" }}\n[native]\ntask = \"image\"\narchitecture = \"{network}\n"
        );
        write(&folder.path().join("recipe.toml"), recipe);
        let (weights, rows) = (format!("{name}.pt"), format!("{name}.npz"));
        agree(&convert(folder.path(), &weights, "recipe.toml", &rows, &stated), 60);
    }
    let other = convert(folder.path(), "lenet.pt", "recipe.toml", "lenet.npz", &stated);
    std::fs::remove_file(folder.path().join("model.onnx")).expect("of the one before");
    refused(folder.path(), &other, &["`module.conv1.weight` of shape [6, 1, 5, 5]", "left over"]);
}
