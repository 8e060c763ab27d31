//! Tests of output controls.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use hospes_core::tensor::DataType;
use hospes_core::value::{Field, write};

fn controls(
    top_k: Option<u32>,
    decimals: Option<u8>,
    fields: &[&str],
    label_only: bool,
) -> Controls {
    let names: Vec<Box<str>> = fields.iter().map(|name| Box::from(*name)).collect();
    let fields = (!names.is_empty()).then(|| names.into());
    Controls { top_k, decimals, fields, label_only }
}

fn field(name: &str, ty: Type) -> Field {
    Field { name: name.into(), ty }
}

fn guesses() -> Type {
    let fields = vec![
        field("class", Type::U32),
        field("label", Type::String),
        field("score", Type::F32),
        field("extra", Type::F64),
    ];
    Type::List(Arc::new(Type::Record(fields.into())))
}

fn guess(class: u32, label: &str, score: f32, extra: f64) -> Value {
    Value::Record(vec![
        Value::U32(class),
        Value::String(label.into()),
        Value::F32(score),
        Value::F64(extra),
    ])
}

fn json(controls: &Controls, value: Value, ty: &Type) -> String {
    let (value, ty) = controls.value(value, ty).expect("controlled");
    let mut out = Vec::new();
    write::json(&value, &ty, &mut out);
    String::from_utf8(out).expect("text")
}

fn three() -> Value {
    Value::List(vec![
        guess(3, "dog", 0.0812, 9.0),
        guess(1, "cat", 0.9138, 8.0),
        guess(2, "car", 0.005, 7.0),
    ])
}

#[test]
fn ranked_lists_are_sorted_rounded_and_cut_and_other_fields_are_dropped() {
    let best = controls(Some(1), Some(2), &["label", "score"], false);
    assert_eq!(json(&best, three(), &guesses()), r#"[{"label":"cat","score":0.91}]"#);
    let two = controls(Some(2), Some(1), &["label", "score", "extra"], false);
    assert_eq!(
        json(&two, three(), &guesses()),
        r#"[{"label":"cat","score":0.9,"extra":8.0},{"label":"dog","score":0.1,"extra":7.0}]"#
            .replace("7.0", "9.0")
    );
    let labels = controls(None, None, &["label", "class"], true);
    assert_eq!(json(&labels, three(), &guesses()), r#"[{"class":1,"label":"cat"}]"#);
    let fields_only = controls(None, None, &["class"], false);
    assert_eq!(json(&fields_only, three(), &guesses()), r#"[{"class":3},{"class":1},{"class":2}]"#);
    // What could carry anything is released only by name.
    let scores = controls(Some(1), None, &[], false);
    assert_eq!(json(&scores, three(), &guesses()), r#"[{"score":0.9138}]"#);
}

#[test]
fn what_can_carry_anything_and_cannot_be_dropped_is_refused_up_front() {
    let rounded = controls(None, Some(2), &[], false);
    for ty in [
        Type::String,
        Type::U64,
        Type::List(Arc::new(Type::U8)),
        Type::List(Arc::new(Type::String)),
        Type::Option(Arc::new(Type::Char)),
    ] {
        let refused = rounded.check_type(&ty).expect_err("free-form");
        assert!(matches!(&refused, ControlError::CarriesAnything { .. }), "{ty}: {refused}");
        assert_eq!(Controls::default().check_type(&ty), Ok(()));
    }
    let record = Type::Record([field("text", Type::String)].into());
    assert_eq!(rounded.check_type(&record), Err(ControlError::Nothing));
    assert_eq!(controls(None, Some(2), &["text"], false).check_type(&record), Ok(()));
    assert!(
        controls(None, None, &[], true).check_type(&Type::F32).is_err(),
        "a bare score is no label"
    );
    let verdict = Type::Result { ok: Some(Arc::new(Type::F32)), err: Some(Arc::new(Type::String)) };
    let error = Value::Result(Err(Some(Box::new(Value::String("0.123456789".into())))));
    assert_eq!(json(&rounded, error, &verdict), r#"{"err":null}"#, "an error's text is no way out");
}

#[test]
fn scores_by_position() {
    let list = Type::List(Arc::new(Type::F32));
    let scores = |numbers: &[f32]| {
        Value::Packed(Bytes::from(numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>()))
    };
    let value = || scores(&[0.1, 0.7004, -0.0, f32::NAN, 0.7001]);
    assert_eq!(
        json(&controls(Some(1), Some(2), &[], false), value(), &list),
        r#"["-Infinity",0.7,"-Infinity","-Infinity","-Infinity"]"#
    );
    assert_eq!(json(&controls(Some(2), None, &[], true), value(), &list), "[1,4]");
    assert_eq!(
        json(&controls(None, Some(1), &[], false), value(), &list),
        r#"[0.1,0.7,0.0,"NaN",0.7]"#
    );
    let batch = Type::List(Arc::new(list.clone()));
    let rows = Value::List(vec![scores(&[1.0, 2.0]), scores(&[4.0, 3.0]), scores(&[5.0, 6.0])]);
    assert_eq!(
        json(&controls(Some(1), None, &[], true), rows, &batch),
        "[[1],[0],[1]]",
        "a batch is not cut"
    );
}

#[test]
fn tensors_of_every_float_type_are_held_along_their_last_axis() {
    let rows = [[0.1_f32, 0.7, 0.2], [0.5, 0.25, 0.333]];
    let flat = || rows.iter().flatten().copied();
    let tensor =
        |ty, bytes: Vec<u8>| Tensor::new(ty, vec![2, 3], Bytes::from(bytes)).expect("a tensor");
    let inputs = [
        tensor(DataType::F16, flat().flat_map(|n| half::f16::from_f32(n).to_le_bytes()).collect()),
        tensor(
            DataType::Bf16,
            flat().flat_map(|n| half::bf16::from_f32(n).to_le_bytes()).collect(),
        ),
        tensor(DataType::F32, flat().flat_map(f32::to_le_bytes).collect()),
        tensor(DataType::F64, flat().flat_map(|n| f64::from(n).to_le_bytes()).collect()),
    ];
    for input in inputs {
        let outputs = || vec![("p".to_owned(), input.clone())];
        let kept = controls(Some(1), Some(1), &[], false).tensors(outputs()).expect("controlled");
        let wide = input.data_type() == DataType::F64;
        assert_eq!(kept[0].1.data_type(), if wide { DataType::F64 } else { DataType::F32 });
        let mut text = Vec::new();
        hospes_core::tensor::json::write_outputs(&kept, &mut text).expect("JSON");
        let text = String::from_utf8(text).expect("text");
        assert!(
            text.contains(r#""-Infinity",0.7,"-Infinity""#)
                && text.contains(r#"0.5,"-Infinity","-Infinity""#),
            "{text}"
        );
        let labels = controls(Some(2), None, &[], true).tensors(outputs()).expect("controlled");
        assert_eq!(
            (labels[0].1.data_type(), labels[0].1.shape()),
            (DataType::I64, [2, 2].as_slice())
        );
        let places: Vec<i64> = labels[0]
            .1
            .data()
            .chunks(8)
            .map(|eight| i64::from_le_bytes(eight.try_into().expect("eight")))
            .collect();
        assert_eq!(places, [1, 2, 0, 2]);
    }
    let integers =
        Tensor::new(DataType::I64, vec![1], Bytes::from_static(&[1; 8])).expect("a tensor");
    let outputs = vec![("ids".to_owned(), integers)];
    assert!(controls(None, Some(1), &[], false).tensors(outputs.clone()).is_err());
    assert_eq!(
        controls(None, Some(1), &["ids"], false).tensors(outputs.clone()).expect("named"),
        outputs
    );
    assert!(controls(None, None, &["p"], false).tensors(outputs).is_err());
}

fn entries() -> impl Strategy<Value = Vec<(u32, f32, f64)>> {
    let score = prop_oneof![
        any::<f32>(),
        -1.0_f32..1.0,
        Just(f32::NAN),
        Just(-0.0),
        Just(f32::MIN_POSITIVE / 4.0)
    ];
    proptest::collection::vec((any::<u32>(), score, any::<f64>()), 0..12)
}

fn list_of(entries: &[(u32, f32, f64)]) -> Value {
    Value::List(
        entries.iter().map(|(class, score, extra)| guess(*class, "x", *score, *extra)).collect(),
    )
}

/// Whether no number with this many digits is nearer. At 10^11 a double itself is within only 10^-5 of three digits.
fn is_nearest(number: f64, rounded: f64, digits: u8) -> bool {
    let spacing = number.abs() * f64::EPSILON;
    (rounded - number).abs() <= 0.500_001 * 10_f64.powi(-i32::from(digits)) + spacing
}

#[test]
fn a_large_number_is_rounded_to_the_double_next_to_its_digits() {
    let (number, rounded) = (-125_579_269_874.135_5_f64, -125_579_269_874.135_f64);
    assert_eq!(controls(None, Some(3), &[], false).f64(number).to_bits(), rounded.to_bits());
    assert!(is_nearest(number, rounded, 3));
}

proptest! {
    #[test]
    fn a_rounded_number_is_written_with_no_more_digits(number in prop_oneof![any::<f64>(), -2.0_f64..2.0], digits in 0_u8..=9) {
        let rounded = controls(None, Some(digits), &[], false);
        let digits_of = |text: String| text.split_once('.').map_or(0, |(_, part)| part.trim_end_matches('0').len());
        #[expect(clippy::cast_possible_truncation, reason = "any f32 will do")]
        let single = number as f32;
        for (text, whole) in [
            (format!("{}", rounded.f64(number)), !number.is_finite()),
            (format!("{}", rounded.f32(single)), !single.is_finite()),
        ] {
            prop_assert!(whole || digits_of(text.clone()) <= usize::from(digits), "{text}");
        }
        prop_assert_eq!(rounded.f64(rounded.f64(number)).to_bits(), rounded.f64(number).to_bits());
        prop_assert!(!number.is_finite() || is_nearest(number, rounded.f64(number), digits));
    }

    // The guest fills what is dropped, shuffles, and hides bits in NaNs and digits.
    #[test]
    fn nothing_but_the_projection_gets_out(
        entries in entries(), seed in any::<u64>(), k in 1_u32..5, decimals in proptest::option::of(0_u8..4),
    ) {
        let controls = controls(Some(k), decimals, &["class", "score"], false);
        let honest = json(&controls, list_of(&entries), &guesses());
        let mut leaking: Vec<_> = entries.iter().enumerate().map(|(index, (class, score, _))| {
            let bits = (seed >> (index % 60)) as u32;
            let score = if score.is_nan() { f32::from_bits(0x7fc0_0000 | (bits & 0x3f_ffff) | (bits << 31)) } else { controls.f32(*score) };
            (*class, score, f64::from_bits(seed.rotate_left(u32::try_from(index).expect("few"))))
        }).collect();
        let turn = usize::try_from(seed % 7).expect("small").min(leaking.len());
        leaking.rotate_left(turn);
        let smuggled = leaking.iter().map(|(class, score, extra)| guess(*class, &seed.to_string(), *score, *extra)).collect();
        let leaked = json(&controls, Value::List(smuggled), &guesses());
        prop_assert_eq!(&honest, &leaked);
        let (once, ty) = controls.value(list_of(&entries), &guesses()).expect("controlled");
        prop_assert_eq!(json(&controls, once, &ty), honest, "twice is once");
    }
}
