use proptest::prelude::*;

use super::json::{parse_inputs, write_outputs};
use super::*;

fn tensor(data_type: DataType, shape: &[usize], data: &[u8]) -> Result<Tensor, TensorError> {
    Tensor::new(data_type, shape.to_vec(), Bytes::copy_from_slice(data))
}

#[test]
fn parts_must_fit_together() {
    assert!(tensor(DataType::F32, &[2, 3], &[0; 24]).is_ok());
    assert!(tensor(DataType::F32, &[], &[0; 4]).is_ok(), "a single element");
    assert!(tensor(DataType::F32, &[0, usize::MAX], &[]).is_ok(), "no elements");
    let two_strings = [1, 0, 0, 0, b'a', 0, 0, 0, 0];
    let strings = tensor(DataType::Bytes, &[2], &two_strings).expect("two strings");
    assert_eq!(strings.strings().collect::<Vec<_>>(), [&b"a"[..], b""]);
    for (data_type, shape, data) in [
        (DataType::F32, &[2, 3][..], &[0_u8; 23][..]),
        (DataType::F32, &[usize::MAX, 2], &[]),
        (DataType::F64, &[usize::MAX / 4], &[]),
        (DataType::U8, &[1; 9], &[0]),
        (DataType::Bool, &[2], &[1, 2]),
        (DataType::Bytes, &[1], &[1, 0, 0]),
        (DataType::Bytes, &[1], &[2, 0, 0, 0, b'a']),
        (DataType::Bytes, &[1], &two_strings),
        (DataType::Bytes, &[1], &[]),
    ] {
        assert!(tensor(data_type, shape, data).is_err(), "{data_type} {shape:?} {data:?}");
    }
}

#[test]
fn elements_of_every_type_are_numbers_and_texts_are_none() {
    for (data_type, data, number) in [
        (DataType::Bool, &[1_u8][..], 1.0),
        (DataType::U8, &[200], 200.0),
        (DataType::I8, &[200], -56.0),
        (DataType::U16, &[0, 200], 51_200.0),
        (DataType::I16, &[0, 200], -14_336.0),
        (DataType::U32, &[1, 0, 0, 128], 2_147_483_649.0),
        (DataType::I32, &[1, 0, 0, 128], -2_147_483_647.0),
        (DataType::U64, &[0, 0, 0, 0, 0, 0, 0, 128], 9_223_372_036_854_775_808.0),
        (DataType::I64, &[0, 0, 0, 0, 0, 0, 0, 128], -9_223_372_036_854_775_808.0),
        (DataType::F16, &[0, 0x3e], 1.5),
        (DataType::Bf16, &[0xc0, 0x3f], 1.5),
        (DataType::F32, &[0, 0, 0xc0, 0x3f], 1.5),
        (DataType::F64, &[0, 0, 0, 0, 0, 0, 0xf8, 0x3f], 1.5),
    ] {
        let tensor = tensor(data_type, &[1], data).expect("fits");
        assert_eq!(tensor.numbers(), Some(vec![number]), "{data_type}");
    }
    assert_eq!(tensor(DataType::Bytes, &[0], &[]).expect("fits").numbers(), None);
}

fn read(datatype: &str, shape: &str, data: &str) -> Result<Tensor, String> {
    let body = format!(
        r#"{{"inputs":[{{"name":"x","data":{data},"datatype":"{datatype}","shape":{shape}}}]}}"#
    );
    let inputs = parse_inputs(body.as_bytes()).map_err(|error| error.to_string())?;
    Ok(inputs.into_iter().next().expect("one input").1)
}

#[test]
fn data_is_flat_or_nested_by_the_shape() {
    let flat = read("INT16", "[2,2]", "[1,2,3,4]").expect("flat");
    assert_eq!(read("INT16", "[2,2]", "[[1,2],[3,4]]").expect("nested"), flat);
    assert_eq!(flat.data().as_ref(), [1, 0, 2, 0, 3, 0, 4, 0]);
    assert!(read("FP32", "[]", "[1]").is_ok());
    assert!(read("FP32", "[0]", "[]").is_ok());
    assert!(read("FP32", "[2,0]", "[[],[]]").is_ok());
}

#[test]
fn what_does_not_fit_is_refused_and_named() {
    for (datatype, shape, data, said) in [
        ("FP31", "[1]", "[1]", "`FP31` is not a data type"),
        ("FP32", "[2]", "[1]", "1 elements, the shape has 2"),
        ("FP32", "[1]", "[1,2]", "more elements than the 1"),
        ("FP32", "[1]", "1", "data is an array"),
        ("FP32", "[1]", "null", "expected an array"),
        ("FP32", "[2,2]", "[[1,2],[3]]", "an array of 1 where the shape has 2"),
        ("FP32", "[2,2]", "[[1,2,3],[4]]", "where the shape has 2"),
        ("FP32", "[2,2]", "[[[1],[2]],[[3],[4]]]", "nested more deeply"),
        ("FP32", "[2,2,1]", "[[1,2],[3,4]]", "nested less deeply"),
        ("FP32", "[4]", "[1,2,[3,4]]", "partly flat and partly nested"),
        ("FP32", "[1]", "[1e39]", "is not an FP32"),
        ("FP16", "[1]", "[70000]", "is not an FP16"),
        ("FP32", "[1]", "[\"nan\"]", "is not an FP32"),
        ("FP32", "[3]", "[1,2,\n\"a\"]", "`/inputs/0/data/2`: `\"a\"` is not an FP32"),
        ("FP32", "[2,2]", "[[1,2],[3,true]]", "`/inputs/0/data/1/1`: `true` is not an FP32"),
        ("FP32", "[2,2]", "[[1,2],[3]]", "`/inputs/0/data/1`: an array of 1"),
        ("FP32", "[2]", "[1]", "`/inputs/0/data`: 1 elements"),
        ("UINT8", "[1]", "[256]", "`256` is not a UINT8"),
        ("UINT8", "[1]", "[-1]", "`-1` is not a UINT8"),
        ("INT8", "[1]", "[1.0]", "is not an INT8"),
        ("INT64", "[1]", "[9223372036854775808]", "is not an INT64"),
        ("BOOL", "[1]", "[1]", "is not a BOOL"),
        ("BYTES", "[1]", "[1]", "is not a BYTES"),
        ("FP32", "[-1]", "[1]", "invalid value"),
        ("FP32", "[18446744073709551615,2]", "[1]", "more elements than can be counted"),
        ("FP32", "[1,1,1,1,1,1,1,1,1]", "[1]", "9 dimensions"),
    ] {
        let error = read(datatype, shape, data).expect_err(data);
        assert!(error.contains(said), "{datatype} {shape} {data}: {error}");
        let is_of_data = error.starts_with("`/inputs/0/data");
        assert!(!is_of_data || !error.contains(" at line "), "{error}");
    }
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(read("FP32", "[1]", &deep).is_err());
    for body in ["", "[]", "{}", r#"{"inputs":{}}"#, r#"{"inputs":[{}]}"#, r#"{"inputs":[],"x":1}"#]
    {
        assert!(parse_inputs(body.as_bytes()).is_err(), "{body}");
    }
    for body in ["[]", " [[]]", "7", r#"{"inputs":[[]]}"#, r#"{"inputs":[7]}"#] {
        let error = parse_inputs(body.as_bytes()).expect_err(body).to_string();
        assert!(error.contains("expected an object"), "{body}: {error}");
    }
    let input = r#"{"name":"x","datatype":"BOOL","shape":[0],"data":[]}"#;
    let twice = format!(r#"{{"inputs":[{input},{input}]}}"#);
    let error = parse_inputs(twice.as_bytes()).expect_err("twice").to_string();
    assert!(error.contains("`x` appears twice"), "{error}");
    let many = format!(r#"{{"inputs":[{}]}}"#, vec![input; 257].join(","));
    assert!(parse_inputs(many.as_bytes()).expect_err("many").to_string().contains("257 inputs"));
}

#[test]
fn bytes_that_are_not_text_are_not_written_as_text() {
    let data = pack_strings([&b"\xff"[..]]).expect("short");
    let tensor = Tensor::new(DataType::Bytes, vec![1], data).expect("a tensor");
    assert!(write_outputs(&[("x".into(), tensor)], &mut Vec::new()).is_err());
}

/// A tensor of any type without NaNs, which have many encodings but one form in JSON.
fn any_tensor() -> impl Strategy<Value = Tensor> {
    let data_type = prop::sample::select(DataType::ALL.to_vec());
    (data_type, prop::collection::vec(any::<[u8; 8]>(), 0..20), any::<String>()).prop_map(
        |(data_type, words, text)| {
            let strings = words.iter().map(|_| text.as_bytes());
            let bytes = |size: usize| words.iter().flat_map(move |w| w[..size].to_vec());
            let data: Bytes = match data_type {
                DataType::Bytes => pack_strings(strings).expect("short"),
                DataType::Bool => bytes(1).map(|byte| byte & 1).collect(),
                other => bytes(other.size().expect("fixed")).collect(),
            };
            Tensor::new(data_type, vec![words.len()], data).expect("fits")
        },
    )
}

fn has_nan(tensor: &Tensor) -> bool {
    let mut text = Vec::new();
    write_outputs(&[(String::new(), tensor.clone())], &mut text).is_ok_and(|()| {
        tensor.data_type() != DataType::Bytes && String::from_utf8_lossy(&text).contains("NaN")
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_bit_for_bit(tensor in any_tensor()) {
        prop_assume!(!has_nan(&tensor));
        let mut text = Vec::new();
        write_outputs(&[("x".into(), tensor.clone())], &mut text).expect("text");
        let text = String::from_utf8(text).expect("text").replacen("outputs", "inputs", 1);
        let inputs = parse_inputs(text.as_bytes()).expect(&text);
        prop_assert_eq!(&inputs, &[("x".to_owned(), tensor)]);
    }

    #[test]
    fn nothing_that_is_sent_makes_the_reader_panic(body in any::<Vec<u8>>(), data in "[\\[\\],0-9.eE\"a-]{0,40}") {
        let _ = parse_inputs(&body);
        let _ = read("FP32", "[2,2]", &data);
        let _ = Tensor::new(DataType::Bytes, vec![2], body.into());
    }
}

#[test]
fn elements_are_counted_or_there_are_too_many() {
    assert_eq!(super::count(&[]), Some(1));
    assert_eq!(super::count(&[2, 3]), Some(6));
    assert_eq!(super::count(&[usize::MAX, usize::MAX, 0]), Some(0));
    assert_eq!(super::count(&[1 << 32, 1 << 32, 4]), None);
}
