use std::path::Path;

use super::*;

fn spec(name: &str, data_type: DataType, sizes: &[Option<usize>]) -> ModelSignature {
    let shape = Some(sizes.to_vec());
    let input = TensorSpec { name: name.into(), data_type, shape, optional: false };
    ModelSignature { inputs: vec![input], outputs: Vec::new() }
}

fn column(name: &str, ty: DataType, shape: &[usize], values: &[f64]) -> Column {
    let data = elements(values, ty).expect("it holds them");
    let tensor = Tensor::new(ty, shape.to_vec(), data.into()).expect("fits");
    Column { name: name.into(), tensor }
}

fn data(columns: Vec<Column>) -> DataSet {
    DataSet::new(Path::new("f"), columns, None, Vec::new()).expect("rows")
}

fn seen(
    signature: &ModelSignature,
    data: &DataSet,
    preparation: &Preparation,
) -> (Vec<usize>, Vec<f64>) {
    let feed = Feed::new(signature, data, preparation).expect("fits");
    let inputs = feed.inputs(0..data.rows()).expect("values");
    (inputs[0].1.shape().to_vec(), inputs[0].1.numbers().expect("numbers"))
}

const OPEN: Option<usize> = None;

#[test]
fn numbers_stand_side_by_side_in_the_file_s_order() {
    let set = data(vec![
        column("b", DataType::F64, &[2], &[1.0, 2.0]),
        column("a", DataType::F64, &[2], &[3.0, 4.0]),
    ]);
    let plain = Preparation::default();
    let rows = seen(&spec("x", DataType::F32, &[OPEN, Some(2)]), &set, &plain);
    assert_eq!(rows, (vec![2, 2], vec![1.0, 3.0, 2.0, 4.0]));
    let note = |name: &str, width| {
        let signature = spec(name, DataType::F32, &[OPEN, Some(width)]);
        Feed::new(&signature, &set, &plain).expect("fits").note()
    };
    let told = "columns were taken in the order of the file: `b`, `a`";
    assert_eq!(note("x", 2).as_deref(), Some(told));
    assert_eq!(note("a", 1), None, "its name says which");
    // An input of its name takes one column only, with a dimension of one.
    let rows = seen(&spec("a", DataType::I64, &[OPEN, Some(1)]), &set, &plain);
    assert_eq!(rows, (vec![2, 1], vec![3.0, 4.0]));
    let three = spec("x", DataType::F32, &[OPEN, Some(3)]);
    let error = Feed::new(&three, &set, &plain).expect_err("two").to_string();
    assert!(error.contains("FP32[?, 3]") && error.contains("all 3 columns"), "{error}");
}

#[test]
fn colours_find_their_place_and_bytes_need_a_scale() {
    // One picture of 2 x 2 with colours last.
    let pixels: Vec<f64> = (0..12).map(f64::from).collect();
    let set = data(vec![column("image", DataType::U8, &[1, 2, 2, 3], &pixels)]);
    let first = spec("x", DataType::F32, &[OPEN, Some(3), Some(2), Some(2)]);
    let error = Feed::new(&first, &set, &Preparation::default()).expect_err("no scale");
    assert!(error.to_string().contains("`--divide 255`"), "{error}");
    let one = Preparation { divide: Some(1.0), ..Preparation::default() };
    let turned = vec![0.0, 3.0, 6.0, 9.0, 1.0, 4.0, 7.0, 10.0, 2.0, 5.0, 8.0, 11.0];
    assert_eq!(seen(&first, &set, &one), (vec![1, 3, 2, 2], turned.clone()));
    let back = data(vec![column("image", DataType::U8, &[1, 3, 2, 2], &turned)]);
    let last = spec("x", DataType::F32, &[OPEN, Some(2), Some(2), Some(3)]);
    assert_eq!(seen(&last, &back, &one), (vec![1, 2, 2, 3], pixels));
    let scaled = Preparation {
        divide: Some(2.0),
        mean: vec![0.0, 1.0, 2.0],
        deviation: vec![1.0, 1.0, 0.5],
        ..Preparation::default()
    };
    let (_, values) = seen(&first, &set, &scaled);
    assert_eq!((values[1], values[4], values[8]), (1.5, -0.5, -2.0));
    let wrong = Preparation { mean: vec![0.0, 1.0], ..one };
    let error = Feed::new(&first, &set, &wrong).expect_err("two means").to_string();
    assert!(error.contains("3 channels"), "{error}");
}

#[test]
fn grey_pictures_are_repeated_only_when_told() {
    let set = data(vec![column("image", DataType::U8, &[1, 1, 2], &[7.0, 9.0])]);
    let rgb = spec("x", DataType::F32, &[OPEN, Some(3), OPEN, OPEN]);
    let one = Preparation { divide: Some(1.0), ..Preparation::default() };
    let square = data(vec![column("image", DataType::U8, &[1, 2, 2], &[7.0, 9.0, 1.0, 2.0])]);
    let error = Feed::new(&rgb, &square, &one).expect_err("grey").to_string();
    assert!(error.contains("--grey-to-rgb"), "{error}");
    let told = Preparation { grey_to_rgb: true, ..one.clone() };
    let (shape, values) = seen(&rgb, &square, &told);
    assert_eq!(
        (shape, values.len(), &values[4..8]),
        (vec![1, 3, 2, 2], 12, &[7.0, 9.0, 1.0, 2.0][..])
    );
    let last = spec("x", DataType::F32, &[OPEN, Some(2), Some(2), Some(3)]);
    assert_eq!(seen(&last, &square, &told).1[..6], [7.0, 7.0, 7.0, 9.0, 9.0, 9.0]);
    let large = spec("x", DataType::F32, &[OPEN, Some(3), Some(32), Some(32)]);
    let error = Feed::new(&large, &square, &one).expect_err("small").to_string();
    assert!(error.contains("[32, 32]"), "{error}");
    // A dimension of one is added.
    let one_channel = spec("x", DataType::U8, &[OPEN, Some(1), Some(1), Some(2)]);
    assert_eq!(seen(&one_channel, &set, &Preparation::default()).0, [1, 1, 1, 2]);
}

#[test]
fn a_preparation_is_refused_where_the_model_takes_bytes() {
    let set = data(vec![column("image", DataType::U8, &[1, 1, 2], &[7.0, 9.0])]);
    let bytes = spec("x", DataType::U8, &[OPEN, Some(1), Some(2)]);
    for stated in [
        Preparation { divide: Some(255.0), ..Preparation::default() },
        Preparation { mean: vec![0.5], ..Preparation::default() },
        Preparation { deviation: vec![0.5], ..Preparation::default() },
    ] {
        let error = Feed::new(&bytes, &set, &stated).expect_err("bytes").to_string();
        assert!(error.contains("leave them out: the model takes the bytes"), "{error}");
    }
    let (_, values) = seen(&bytes, &set, &Preparation::default());
    assert_eq!(values, [7.0, 9.0]);
}

#[test]
fn values_that_do_not_fit_are_named_with_their_row() {
    let set = data(vec![
        column("a", DataType::F64, &[3], &[1.0, 2.0, 3.0]),
        column("b", DataType::F64, &[3], &[1.0, 2.5, 3.0]),
    ]);
    let whole = spec("x", DataType::I64, &[OPEN, Some(2)]);
    let feed = Feed::new(&whole, &set, &Preparation::default()).expect("shapes fit");
    let error = feed.inputs(1..3).expect_err("a half").to_string();
    assert_eq!(error, "row 2, `b`: input `x` takes INT64[?, 2], which cannot hold 2.5");
}

#[test]
fn a_fixed_batch_is_filled_up() {
    let set = data(vec![column("x", DataType::F32, &[3, 1], &[1.0, 2.0, 3.0])]);
    let two = spec("x", DataType::F32, &[Some(2), Some(1)]);
    let feed = Feed::new(&two, &set, &Preparation::default()).expect("fits");
    assert_eq!(feed.batch(), Some(2));
    let last = feed.inputs(2..3).expect("values");
    assert_eq!(last[0].1.numbers().expect("numbers"), [3.0, 3.0]);
}

#[test]
fn texts_and_numbers_are_not_mixed_up() {
    let tensor = hospes_core::tensor::pack_strings([&b"a"[..]]).expect("short");
    let tensor = Tensor::new(DataType::Bytes, vec![1], tensor).expect("fits");
    let set = data(vec![Column { name: "t".into(), tensor }]);
    let error = Feed::new(&spec("t", DataType::F32, &[OPEN]), &set, &Preparation::default());
    assert!(error.expect_err("text").to_string().contains("encode the texts"));
    let missing = Feed::new(
        &spec("a", DataType::F32, &[OPEN, Some(2)]),
        &data(vec![
            column("x", DataType::F32, &[1, 2], &[1.0, 2.0]),
            column("z", DataType::F32, &[1, 2], &[1.0, 2.0]),
        ]),
        &Preparation::default(),
    )
    .map(|_| ())
    .expect_err("no a")
    .to_string();
    assert!(missing.contains("`x` (FP32, a row [2])") && missing.contains("`a`"), "{missing}");
}

/// A table with a number, a text and an identifier, whose text column is first.
fn flowers(texts: &[&str]) -> DataSet {
    let packed = hospes_core::tensor::pack_strings(texts.iter().map(|text| text.as_bytes()));
    let tensor = Tensor::new(DataType::Bytes, vec![texts.len()], packed.expect("short"));
    let count = texts.len();
    let sizes: Vec<f64> = (1..=count).map(|size| size as f64 / 2.0).collect();
    data(vec![
        Column { name: "colour".into(), tensor: tensor.expect("fits") },
        column("id", DataType::F64, &[count], &vec![77.0; count]),
        column("size", DataType::F64, &[count], &sizes),
    ])
}

fn trained() -> Vec<ToldColumn> {
    let categories = ["blue", "red"].map(String::from).to_vec();
    vec![
        ToldColumn { name: "size".into(), categories: Vec::new() },
        ToldColumn { name: "colour".into(), categories },
    ]
}

fn bound<'d>(data: &'d DataSet, trained: &[ToldColumn]) -> Result<Feed<'d>, FeedError> {
    let row = spec("row", DataType::F32, &[OPEN, Some(2)]);
    Feed::of_trained(&row, trained, data, &Preparation::default())
}

#[test]
fn columns_of_a_table_come_in_the_order_of_training_and_others_are_left_out() {
    let set = flowers(&["red", "blue"]);
    let feed = bound(&set, &trained()).expect("fits");
    let row = &feed.inputs(0..2).expect("values")[0];
    assert_eq!((&*row.0, row.1.shape()), ("row", &[2, 2][..]));
    assert_eq!(row.1.numbers().expect("numbers"), [0.5, 1.0, 1.0, 0.0]);
    // Two numbers in another order would be misread without a word.
    let swapped = data(vec![
        column("b", DataType::F64, &[1], &[2.0]),
        column("a", DataType::F64, &[1], &[1.0]),
    ]);
    let numbers = ["a", "b"].map(|name| ToldColumn { name: name.into(), categories: vec![] });
    let row = bound(&swapped, &numbers).expect("fits").inputs(0..1).expect("values");
    assert_eq!(row[0].1.numbers().expect("numbers"), [1.0, 2.0]);
}

#[test]
fn columns_and_texts_that_training_did_not_have_are_named() {
    let said = |set: &DataSet, trained: &[ToldColumn]| {
        bound(set, trained).map(|_| ()).expect_err("refused").to_string()
    };
    let strange = flowers(&["red", "green"]);
    let text = said(&strange, &trained());
    assert!(text.starts_with("row 2, `colour`: `green` is none of"), "{text}");
    assert!(text.contains("`blue`, `red`"), "{text}");
    let mut more = trained();
    more[0].name = "width".into();
    let text = said(&flowers(&["red"]), &more);
    assert!(text.contains("no column `width`") && text.contains("`id`, `size`"), "{text}");
    let mut number = trained();
    number[1].categories.clear();
    let text = said(&flowers(&["1.5", "red"]), &number);
    assert!(text.starts_with("row 2, `colour`: `red` is not a finite number"), "{text}");
}

#[test]
fn rows_that_are_encoded_already_are_taken_as_they_are() {
    let row = data(vec![column("row", DataType::F32, &[1, 2], &[0.5, 1.0])]);
    let feed = bound(&row, &trained()).expect("fits");
    assert_eq!(feed.inputs(0..1).expect("values")[0].1.numbers().expect("numbers"), [0.5, 1.0]);
    let array = data(vec![column("data", DataType::F32, &[1, 2], &[0.5, 1.0])]);
    bound(&array, &trained()).expect("fits");
}
