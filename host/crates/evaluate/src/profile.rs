//! The profile of a data set and of what a model answers to it: counts that monitoring compares later calls with.

use hospes_core::tensor::DataType;
use hospes_data::DataSet;
use hospes_evidence::{Distribution, FEATURES_MAX, Profile, ProfileError, of_numbers, of_texts};

use crate::answers::Answers;

/// Elements of a row up to which each has a distribution. Of more, such as a picture's, the mean and the deviation have.
const ELEMENTS_MAX: usize = 64;

/// Counts inputs and outputs on held-out rows.
///
/// # Errors
/// [`ProfileError`], such as fewer than 2,000 rows.
pub fn profile(data: &DataSet, answers: &Answers) -> Result<Profile, ProfileError> {
    let mut inputs = Vec::new();
    for column in data.columns() {
        // Beyond what a profile holds, the first ones stand for all.
        if inputs.len() >= FEATURES_MAX {
            break;
        }
        match column.tensor.numbers() {
            Some(values) => add(&mut inputs, &column.name, column.row_shape(), &values),
            None if column.tensor.data_type() == DataType::Bytes
                && column.row_shape().is_empty() =>
            {
                let texts =
                    column.tensor.strings().map(|text| str::from_utf8(text).unwrap_or("\u{fffd}"));
                inputs.push(of_texts(column.name.clone(), texts));
            }
            None => {}
        }
    }
    let mut outputs = Vec::new();
    for name in answers.names() {
        if let Some((shape, values)) = answers.output_numbers(name) {
            add(&mut outputs, name, shape, values);
            let each = shape.iter().product::<usize>();
            if each > 1 {
                let places: Vec<String> = values.chunks(each).map(largest).collect();
                outputs.push(of_texts(format!("{name}.class"), places.iter().map(String::as_str)));
            }
        } else if let Some(texts) =
            answers.output_texts(name).filter(|texts| texts.len() == answers.rows())
        {
            outputs.push(of_texts(name.to_owned(), texts.iter().map(String::as_str)));
        }
    }
    inputs.truncate(FEATURES_MAX);
    outputs.truncate(FEATURES_MAX);
    Profile::new(data.digest(), data.rows() as u64, inputs, outputs)
}

/// The place of the largest number; empty if one is none.
fn largest(row: &[f64]) -> String {
    if row.iter().any(|value| value.is_nan()) {
        return String::new();
    }
    let best = (1..row.len()).fold(0, |best, at| if row[at] > row[best] { at } else { best });
    best.to_string()
}

fn add(list: &mut Vec<Distribution>, name: &str, shape: &[usize], values: &[f64]) {
    let each = shape.iter().product::<usize>();
    match each {
        0 => {}
        1 => list.push(of_numbers(name.to_owned(), values)),
        2..=ELEMENTS_MAX => {
            for place in 0..each {
                let column: Vec<f64> = values.iter().copied().skip(place).step_by(each).collect();
                list.push(of_numbers(format!("{name}[{place}]"), &column));
            }
        }
        _ => {
            let means: Vec<f64> = values.chunks(each).map(mean).collect();
            let deviations: Vec<f64> = values
                .chunks(each)
                .zip(&means)
                .map(|(row, mean)| {
                    let squares: f64 = row.iter().map(|value| (value - mean).powi(2)).sum();
                    (squares / each as f64).sqrt()
                })
                .collect();
            list.push(of_numbers(format!("{name}.mean"), &means));
            list.push(of_numbers(format!("{name}.deviation"), &deviations));
        }
    }
}

fn mean(row: &[f64]) -> f64 {
    row.iter().sum::<f64>() / row.len() as f64
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use hospes_core::tensor::Tensor;
    use hospes_data::Column;
    use hospes_evidence::Counts;

    fn tensor(shape: &[usize], values: impl Iterator<Item = f32>) -> Tensor {
        let data: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
        Tensor::new(DataType::F32, shape.to_vec(), data.into()).expect("fits")
    }

    #[test]
    fn inputs_and_outputs_are_counted() {
        let rows = 2000_usize;
        let column = |name: &str, tensor| Column { name: name.into(), tensor };
        let picture = tensor(&[rows, 100], (0..rows * 100).map(|at| (at / 100) as f32));
        let pair = tensor(&[rows, 2], (0..rows * 2).map(|at| at as f32));
        let columns = vec![column("image", picture), column("pair", pair)];
        let data = DataSet::new(Path::new("f"), columns, None, Vec::new()).expect("rows");
        let mut answers = Answers::default();
        let scores = tensor(&[rows, 2], (0..rows).flat_map(|row| [0.5, f32::from(row % 4 == 0)]));
        answers.add(vec![("p".into(), scores)], rows, rows).expect("rows");
        let seen = profile(&data, &answers).expect("enough rows");
        let names: Vec<&str> = seen.inputs().iter().map(|input| input.name.as_str()).collect();
        assert_eq!(names, ["image.mean", "image.deviation", "pair[0]", "pair[1]"]);
        let class = seen.outputs().iter().find(|output| output.name == "p.class").expect("classes");
        let counts =
            Counts::Categories { names: vec!["0".into(), "1".into()], counts: vec![1500, 500, 0] };
        assert_eq!(class.counts, counts);
        let few = profile(&data.select(&[0, 1]), &Answers::default()).expect_err("two rows");
        assert_eq!(few, ProfileError::Rows { rows: 2 });
    }
}
