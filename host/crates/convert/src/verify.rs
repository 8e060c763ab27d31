//! The proof that a converted model answers as its source: the same rows through both.
//!
//! The source's answers are arrays named `expected` and `expected_labels`, given with the rows or computed by the source's own library. Every
//! backend that loads the model must give them: labels equal, numbers within [`ROUNDING`].

use bytes::Bytes;
use hospes_core::backend::BackendKind;
use hospes_core::tensor::{DataType, Tensor};
use hospes_data::{Column, DataSet};
use hospes_evidence::{Apart, ROUNDING, farthest};
use hospes_onnx::model::ElementType;
use hospes_onnx::{Interface, Port};
use serde::Serialize;

use super::error::{ConvertError, refused};

/// Rows that are computed at once.
const ROWS_AT_ONCE: usize = 128;

/// The source's answers in a data set.
pub const EXPECTED: &str = "expected";
/// The source's labels in a data set.
pub const EXPECTED_LABELS: &str = "expected_labels";

/// Named tensors.
pub type Named = Vec<(String, Tensor)>;

/// The host's own executor.
pub trait Execute {
    /// The backends of this machine.
    fn backends(&self) -> Vec<BackendKind>;

    /// What a model answers to each of these on a backend, or `Err(Ok(why))` if the backend does not load it.
    ///
    /// # Errors
    /// [`NotRun`].
    fn compute(
        &self,
        model: &Bytes,
        backend: BackendKind,
        inputs: Vec<Named>,
    ) -> Result<Vec<Named>, NotRun>;
}

/// Why a backend gave no answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotRun {
    /// It does not have the model's operators.
    NotLoaded(String),
    Failed(String),
}

/// How a backend's answers compare with the source's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    pub backend: BackendKind,
    /// `None` where the backend computed the model.
    pub not_loaded: Option<String>,
    /// Numbers compared, and the largest difference (relative if the source's is above 1).
    pub numbers: usize,
    pub difference_max: f64,
    /// Labels compared; all were equal.
    pub labels: usize,
}

/// The columns that a model reads.
///
/// # Errors
/// [`ConvertError::Refused`] names the input that has no column.
pub(crate) fn inputs(interface: &Interface, rows: &DataSet) -> Result<Named, ConvertError> {
    let columns: Vec<&Column> = rows
        .columns()
        .iter()
        .filter(|column| column.name != EXPECTED && column.name != EXPECTED_LABELS)
        .collect();
    let ports: Vec<&Port> = interface.inputs.iter().filter(|port| !port.has_default).collect();
    let mut named = Named::new();
    for port in &ports {
        let same = columns.iter().find(|column| column.name == port.name);
        let tensor = match (same, &ports[..], &columns[..]) {
            (Some(column), _, _) => column.tensor.clone(),
            (None, [_], [only]) => only.tensor.clone(),
            (None, [_], several) => table(several).ok_or_else(|| no_column(port, rows))?,
            (None, _, _) => return Err(no_column(port, rows)),
        };
        named.push((port.name.clone(), fitted(&tensor, port)?));
    }
    Ok(named)
}

fn no_column(port: &Port, rows: &DataSet) -> ConvertError {
    let has = hospes_data::listed(rows.columns().iter().map(|column| &column.name));
    refused(
        format!("the rows have no column for the model's input {port}; they have {has}"),
        format!("name an array of the `--verify` file `{}`", port.name),
    )
}

/// Columns of one number a row, side by side.
fn table(columns: &[&Column]) -> Option<Tensor> {
    let lists: Option<Vec<Vec<f64>>> = columns
        .iter()
        .map(|column| column.tensor.numbers().filter(|_| column.row_shape().is_empty()))
        .collect();
    let lists = lists?;
    let rows = lists.first()?.len();
    let cells = (0..rows).flat_map(|row| lists.iter().map(move |list| list[row]));
    let data: Vec<u8> = cells.flat_map(f64::to_le_bytes).collect();
    Tensor::new(DataType::F64, vec![rows, lists.len()], data.into()).ok()
}

/// The tensor with the element type and the number of dimensions that the input has.
fn fitted(tensor: &Tensor, port: &Port) -> Result<Tensor, ConvertError> {
    let wanted = port.element.and_then(data_type);
    let mut shape = tensor.shape().to_vec();
    // One column: scikit-learn's exporter asks for rows × 1.
    if port.shape.as_ref().is_some_and(|sizes| sizes.len() == shape.len() + 1) {
        shape.push(1);
    }
    let data = match wanted {
        Some(wanted) if wanted != tensor.data_type() => {
            if wanted == DataType::U8 {
                are_bytes(tensor, port)?;
            }
            let cast = tensor.numbers().and_then(|numbers| cast(&numbers, wanted));
            cast.ok_or_else(|| {
                let what = format!("the rows for {port} are {}", tensor.data_type());
                refused(what, "give them in the type that the model was trained with")
            })?
        }
        _ => tensor.data().clone(),
    };
    Tensor::new(wanted.unwrap_or(tensor.data_type()), shape, data).map_err(|error| {
        refused(format!("the rows do not fit {port}: {error}"), "give them in the model's shape")
    })
}

/// Whether a byte holds each of these numbers as it is.
fn are_bytes(tensor: &Tensor, port: &Port) -> Result<(), ConvertError> {
    let numbers = tensor.numbers().unwrap_or_default();
    let is_byte = |value: &f64| (0.0..=255.0).contains(value) && value.fract() == 0.0;
    let Some(at) = numbers.iter().position(|value| !is_byte(value)) else { return Ok(()) };
    let rows = tensor.shape().first().copied().unwrap_or(1).max(1);
    let (row, value) = (at / (numbers.len() / rows).max(1) + 1, numbers[at]);
    Err(refused(
        format!(
            "row {row} of the {} array for {port} has {value}, which is no byte",
            tensor.data_type()
        ),
        "give whole numbers from 0 to 255 as they are in the files: the model scales them itself",
    ))
}

fn data_type(element: ElementType) -> Option<DataType> {
    Some(match element {
        ElementType::FLOAT => DataType::F32,
        ElementType::DOUBLE => DataType::F64,
        ElementType::INT64 => DataType::I64,
        ElementType::INT32 => DataType::I32,
        ElementType::STRING => DataType::Bytes,
        ElementType::BOOL => DataType::Bool,
        ElementType::UINT8 => DataType::U8,
        _ => return None,
    })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as NumPy's `astype`")]
fn cast(numbers: &[f64], to: DataType) -> Option<Bytes> {
    let each = |bytes: fn(f64) -> Vec<u8>| numbers.iter().copied().flat_map(bytes).collect();
    let bytes: Vec<u8> = match to {
        DataType::F32 => each(|value| (value as f32).to_le_bytes().to_vec()),
        DataType::F64 => each(|value| value.to_le_bytes().to_vec()),
        DataType::I64 => each(|value| (value as i64).to_le_bytes().to_vec()),
        DataType::I32 => each(|value| (value as i32).to_le_bytes().to_vec()),
        DataType::U8 => each(|value| vec![value as u8]),
        DataType::Bool => each(|value| vec![u8::from(value != 0.0)]),
        _ => return None,
    };
    Some(bytes.into())
}

fn is_whole(tensor: &Tensor) -> bool {
    !tensor.data_type().is_float()
}

/// The rows whose highest score in `expected` is of their label, if the rows have labels and `expected` has a score for each class.
///
/// Labels are matched by the names of the classes or by their places, whichever matches more rows: people write both.
pub(crate) fn labels_met(classes: &[String], rows: &DataSet) -> Option<usize> {
    let labels = rows.labels()?.classes()?;
    let expected = &rows.column(EXPECTED)?.tensor;
    if classes.len() < 2 || expected.shape() != [labels.of().len(), classes.len()] {
        return None;
    }
    let scores = expected.numbers()?;
    let highest = |row: &[f64]| (0..row.len()).rev().max_by(|a, b| row[*a].total_cmp(&row[*b]));
    let answered: Vec<usize> = scores.chunks(classes.len()).filter_map(highest).collect();
    let pairs = || answered.iter().zip(labels.of().iter().map(|label| *label as usize));
    let named = pairs().filter(|(class, label)| classes[**class] == labels.names()[*label]);
    let placed = pairs().filter(|(class, label)| *class == label);
    Some(named.count().max(placed.count()))
}

/// Compares a model with its source's answers on every backend, which computes the rows once, however many sets of answers there are.
///
/// # Errors
/// [`ConvertError::Refused`] names the first row that differs, or says that nothing could be compared.
pub(crate) fn verify(
    model: &Bytes,
    interface: &Interface,
    rows: &DataSet,
    expected: &[&DataSet],
    execute: &dyn Execute,
) -> Result<Vec<Compared>, ConvertError> {
    let inputs = inputs(interface, rows)?;
    let as_set: Vec<Column> =
        inputs.into_iter().map(|(name, tensor)| Column { name, tensor }).collect();
    let set = DataSet::new("rows".as_ref(), as_set, None, Vec::new())
        .map_err(|error| ConvertError::Rows(Box::new(error)))?;
    let part = |from: usize| -> Named {
        let range = from..from + ROWS_AT_ONCE;
        let columns = set.columns().iter();
        columns.map(|column| (column.name.clone(), set.slice(column, range.clone()))).collect()
    };
    let mut compared = Vec::new();
    for backend in execute.backends() {
        let parts = (0..set.rows()).step_by(ROWS_AT_ONCE).map(part).collect();
        let mut entry =
            Compared { backend, not_loaded: None, numbers: 0, difference_max: 0.0, labels: 0 };
        match execute.compute(model, backend, parts) {
            Ok(answers) => {
                for expected in expected {
                    compare(&mut entry, &answers, expected)?;
                }
            }
            Err(NotRun::NotLoaded(why)) => entry.not_loaded = Some(why),
            Err(NotRun::Failed(why)) => {
                let fix =
                    "check that the `--verify` rows are like those that the model was trained with";
                let what = format!("`{backend}` could not compute the rows: {why}");
                return Err(refused(format!("{what} (the rows have {})", arrays(rows)), fix));
            }
        }
        compared.push(entry);
    }
    if compared.iter().all(|entry| entry.numbers + entry.labels == 0) {
        let why: Vec<String> = compared
            .iter()
            .filter_map(|entry| Some(format!("{}: {}", entry.backend, entry.not_loaded.as_ref()?)))
            .collect();
        let fix = "install ONNX Runtime with `hospes runtime install`, or see `hospes doctor`";
        return Err(refused(format!("no backend here runs the model ({})", why.join("; ")), fix));
    }
    Ok(compared)
}

/// The arrays of the rows with the type and shape that they have in their file.
fn arrays(rows: &DataSet) -> String {
    let each = rows.columns().iter().map(|column| {
        let Column { name, tensor } = column;
        format!("{name} {}{:?}", tensor.data_type(), tensor.shape())
    });
    hospes_data::listed(each)
}

fn compare(
    entry: &mut Compared,
    answers: &[Named],
    expected: &DataSet,
) -> Result<(), ConvertError> {
    let before = entry.numbers + entry.labels;
    for name in [EXPECTED, EXPECTED_LABELS] {
        let Some(column) = expected.column(name) else { continue };
        if is_whole(&column.tensor) || name == EXPECTED_LABELS {
            compare_labels(entry, answers, column)?;
        } else {
            compare_numbers(entry, answers, column)?;
        }
    }
    if entry.numbers + entry.labels == before {
        let fix = "add the source's own answers to the `--verify` file as an array `expected`, or name a Python that has the \
                   source's library with `--python`";
        return Err(refused("there is nothing to compare with", fix));
    }
    Ok(())
}

pub(crate) const WRONG: &str = "nothing was written, since the model would answer otherwise than its source: \
                     check that `expected` is from this very model and these rows, then report it with the source's version";

/// The same for weights, of which others say what is computed with them.
pub(crate) const WRONG_WEIGHTS: &str = "nothing was written, since the model would answer otherwise than its source: \
    check that `--divide`, `--mean` and `--deviation` say what your code did to the inputs, that `expected` is before any softmax, \
    that it is computed with exactly these weights (if the file has half precision, with its rounded numbers), that classes and \
    columns are in the recipe's order, and that your network has the layers of the recipe's architecture, as host/docs/convert.md lists them";

/// All parts of an output, one after the other.
fn whole_output(answers: &[Named], at: usize) -> Vec<&Tensor> {
    answers.iter().filter_map(|named| named.get(at)).map(|(_, tensor)| tensor).collect()
}

fn compare_labels(
    entry: &mut Compared,
    answers: &[Named],
    column: &Column,
) -> Result<(), ConvertError> {
    let texts = |tensors: &[&Tensor]| -> Vec<String> {
        let each = |tensor: &&Tensor| -> Vec<String> {
            match tensor.data_type() {
                DataType::Bytes => tensor
                    .strings()
                    .map(|text| String::from_utf8_lossy(text).into_owned())
                    .collect(),
                _ => tensor.numbers().unwrap_or_default().iter().map(f64::to_string).collect(),
            }
        };
        tensors.iter().flat_map(each).collect()
    };
    let theirs = texts(&[&column.tensor]);
    let outputs = answers.first().map_or(0, Vec::len);
    let mut seen = None;
    for at in 0..outputs {
        let tensors = whole_output(answers, at);
        let ours = texts(&tensors);
        if ours.len() != theirs.len() {
            continue;
        }
        match ours.iter().zip(&theirs).position(|(ours, theirs)| ours != theirs) {
            None => {
                entry.labels += theirs.len();
                return Ok(());
            }
            Some(row) if tensors.iter().all(|tensor| is_whole(tensor)) => seen = Some((row, ours)),
            Some(_) => {}
        }
    }
    let what = match seen {
        Some((row, ours)) => format!(
            "row {} has the label `{}` on `{}`, but `{}` in `{}`",
            row + 1,
            ours[row],
            entry.backend,
            theirs[row],
            column.name
        ),
        None => format!("no output has the {} labels of `{}`", theirs.len(), column.name),
    };
    Err(refused(what, WRONG))
}

fn compare_numbers(
    entry: &mut Compared,
    answers: &[Named],
    column: &Column,
) -> Result<(), ConvertError> {
    let theirs = column.tensor.numbers().unwrap_or_default();
    // Missing answers to missing numbers are equal, whatever the weights are.
    if !theirs.is_empty() && !theirs.iter().any(|number| number.is_finite()) {
        let what = format!("`{}` has no finite number, so it proves nothing", column.name);
        return Err(refused(what, "give rows to which the source answers numbers"));
    }
    let outputs = answers.first().map_or(0, Vec::len);
    let mut best: Option<(Apart, f64)> = None;
    for at in 0..outputs {
        let tensors = whole_output(answers, at);
        if tensors.iter().any(|tensor| tensor.data_type() == DataType::Bytes) {
            continue;
        }
        let mut ours: Vec<f64> =
            tensors.iter().flat_map(|tensor| tensor.numbers().unwrap_or_default()).collect();
        // Of two classes some libraries answer the second only.
        if ours.len() == 2 * theirs.len() {
            ours = ours.into_iter().skip(1).step_by(2).collect();
        }
        let Some(found) = farthest(&ours, &theirs) else { continue };
        if best.is_none_or(|(best, _)| found.difference < best.difference) {
            best = Some((found, ours.get(found.at).copied().unwrap_or_default()));
        }
    }
    let per_row = theirs.len() / column.tensor.shape().first().copied().unwrap_or(1).max(1);
    match best {
        Some((apart, _)) if apart.difference <= ROUNDING => {
            entry.numbers += theirs.len();
            entry.difference_max = entry.difference_max.max(apart.difference);
            Ok(())
        }
        Some((Apart { at, .. }, ours)) => {
            let (row, theirs) = (at / per_row.max(1) + 1, theirs[at]);
            let what = format!(
                "row {row} has {ours} on `{}`, but {theirs} in `{}` (at most {ROUNDING} apart)",
                entry.backend, column.name
            );
            Err(refused(what, WRONG))
        }
        None => {
            let what = format!("no output has the {} numbers of `{}`", theirs.len(), column.name);
            Err(refused(what, WRONG))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use hospes_data::{Classes, Labels};
    use hospes_onnx::model::{Graph, Model, Node, Size, ValueInfo};

    use super::*;

    /// Answers each row with itself, and counts how often it is asked.
    #[derive(Default)]
    struct Mirror(Cell<usize>);

    impl Execute for Mirror {
        fn backends(&self) -> Vec<BackendKind> {
            vec![BackendKind::Tract]
        }

        fn compute(
            &self,
            _model: &Bytes,
            _backend: BackendKind,
            inputs: Vec<Named>,
        ) -> Result<Vec<Named>, NotRun> {
            self.0.set(self.0.get() + 1);
            Ok(inputs)
        }
    }

    fn set(columns: &[(&str, &[f64])]) -> DataSet {
        let column = |(name, values): &(&str, &[f64])| {
            let data: Vec<u8> = values.iter().copied().flat_map(f64::to_le_bytes).collect();
            let tensor = Tensor::new(DataType::F64, vec![values.len()], data.into());
            Column { name: (*name).into(), tensor: tensor.expect("fits") }
        };
        let columns = columns.iter().map(column).collect();
        DataSet::new("rows.npz".as_ref(), columns, None, Vec::new()).expect("rows")
    }

    fn interface() -> Interface {
        let mut graph = Graph::new("g");
        let port = |name| ValueInfo::tensor(name, ElementType::DOUBLE, &[Size::Named("n".into())]);
        graph.inputs.push(port("x"));
        graph.nodes.push(Node::new("Identity", &["x"], &["y"]));
        graph.outputs.push(port("y"));
        hospes_onnx::fit(&Model::new(graph, 17)).expect("sound")
    }

    fn verified(given: &DataSet, computed: &DataSet) -> (usize, Result<Vec<Compared>, String>) {
        let mirror = Mirror::default();
        let compared = verify(&Bytes::new(), &interface(), given, &[given, computed], &mirror);
        (mirror.0.get(), compared.map_err(|error| format!("{error:?}")))
    }

    #[test]
    fn labels_are_met_by_name_or_by_place() {
        let classes = ["box".to_owned(), "cross".to_owned()];
        let rows = |names: &[&str]| {
            let scores: Vec<u8> =
                [0.1_f64, 0.9, 0.8, 0.2, 0.3, 0.7].into_iter().flat_map(f64::to_le_bytes).collect();
            let tensor = Tensor::new(DataType::F64, vec![3, 2], scores.into()).expect("fits");
            let column = Column { name: EXPECTED.into(), tensor };
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            let labels = Classes::new(vec![1, 0, 0], names).expect("named");
            let labels = Some(Labels::Classes(labels));
            DataSet::new("rows.npz".as_ref(), vec![column], labels, Vec::new()).expect("rows")
        };
        assert_eq!(labels_met(&classes, &rows(&["box", "cross"])), Some(2));
        assert_eq!(labels_met(&classes, &rows(&["0", "1"])), Some(2));
        assert_eq!(labels_met(&classes[..1], &rows(&["0", "1"])), None);
        assert_eq!(labels_met(&classes, &set(&[(EXPECTED, &[0.5])])), None);
    }

    #[test]
    fn answers_of_two_origins_are_compared_with_one_computation() {
        let rows = set(&[("x", &[1.0, 2.0]), (EXPECTED, &[1.0, 2.0])]);
        let (computations, compared) = verified(&rows, &set(&[(EXPECTED, &[1.0, 2.0])]));
        assert_eq!((computations, compared.expect("the same")[0].numbers), (1, 4));
        for other in [[1.0, 2.1], [1.1, 2.0]] {
            let (_, compared) = verified(&rows, &set(&[(EXPECTED, &other)]));
            let error = compared.expect_err("one differs");
            assert!(error.contains("at most 0.00001 apart"), "{error}");
        }
        let (_, compared) = verified(&rows, &set(&[("other", &[1.0, 2.0])]));
        assert!(compared.expect_err("no answers").contains("nothing to compare with"));
    }
}
