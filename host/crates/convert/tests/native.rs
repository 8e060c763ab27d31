//! XGBoost's and LightGBM's own files (`tests/fixtures/convert/make.py`), and 30 broken ones.

use std::path::{Path, PathBuf};

use hospes_convert::{Pickled, Source, native, recognise, weights};
use hospes_onnx::Model;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/fixtures/convert")
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(fixtures().join(name)).expect("readable")
}

fn text(name: &str) -> String {
    String::from_utf8(fixture(name)).expect("text")
}

/// Every fixture becomes a model that hosts take. What it answers, `tests/tests/host/converted.rs` compares.
#[test]
fn every_model_becomes_one_that_hosts_take() {
    let mut count = 0;
    for entry in std::fs::read_dir(fixtures()).expect("readable") {
        let path = entry.expect("readable").path();
        let source = match path.extension().and_then(|end| end.to_str()) {
            Some("json" | "ubj") => Source::Xgboost,
            Some("txt") => Source::Lightgbm,
            _ => continue,
        };
        let bytes = std::fs::read(&path).expect("readable");
        assert_eq!(recognise(&path, &bytes).expect("known"), source);
        let onnx = native(source, &bytes).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        // Also for people who want to look at it.
        let name = path.with_extension("onnx");
        let name = name.file_name().expect("a name");
        std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name), &onnx).expect("written");
        let model = Model::read(onnx).expect("sound");
        hospes_onnx::fit(&model).expect("fits");
        count += 1;
    }
    assert!(count >= 18, "{count}");
}

#[track_caller]
fn refused(source: Source, bytes: &[u8], says: &str) {
    let Err(error) = native(source, bytes) else { panic!("taken, although `{says}`") };
    let error = error.to_string();
    assert!(error.contains(says), "`{says}` is not in `{error}`");
    assert!(error.contains("; "), "no fix: {error}");
}

#[test]
fn broken_files_of_xgboost_say_where_and_what_to_do() {
    let model = text("xgb_multi.json");
    let dart = text("xgb_dart.json");
    let with = |from: &str, to: &str| {
        assert!(model.contains(from), "{from}");
        model.replacen(from, to, 1)
    };
    let cases = [
        (String::new(), "its UBJSON"),
        ("{}".into(), "`learner`"),
        ("{\"a\": 1}".into(), "`learner`"),
        (model[..model.len() / 2].into(), "its JSON"),
        (with("\"base_score\":\"[", "\"base_score\":\"x["), "`base_score`"),
        // Each tree says it too.
        (model.replace("\"num_feature\":\"4\"", "\"num_feature\":\"-4\""), "`num_feature`"),
        (model.replace("\"num_feature\":\"4\"", "\"num_feature\":\"1\""), "asks for feature"),
        (with("\"num_class\":\"3\"", "\"num_class\":\"2\""), "`base_score`"),
        (with("\"num_class\":\"3\"", "\"num_class\":\"99999999\""), "`num_class`"),
        (with("\"name\":\"multi:softprob\"", "\"name\":\"mine\""), "the objective `mine`"),
        (with("\"name\":\"gbtree\"", "\"name\":\"gblinear\""), "`gblinear`"),
        (with("\"name\":\"gbtree\"", "\"name\":\"other\""), "no booster `other`"),
        (with("\"tree_info\":[0,1,2,", "\"tree_info\":[0,1,9,"), "`tree_info[2]`"),
        (with("\"tree_info\":[0,1,2,", "\"tree_info\":[0,1,"), "`tree_info`"),
        (with("\"left_children\":[1", "\"left_children\":[0"), "is below itself"),
        (with("\"left_children\":[1", "\"left_children\":[999"), "there is no node 999"),
        (with("\"left_children\":[1", "\"left_children\":[-7"), "-7 is no child"),
        (with("\"left_children\":[1,", "\"left_children\":["), "differ in length"),
        (with("\"size_leaf_vector\":\"1\"", "\"size_leaf_vector\":\"3\""), "vectors as leaves"),
        (with("\"split_type\":[0", "\"split_type\":[1"), "its categories are not in the file"),
        (dart.replacen("\"weight_drop\":[", "\"weight_drop\":[],\"x\":[", 1), "`weight_drop`"),
    ];
    for (broken, says) in cases {
        refused(Source::Xgboost, broken.as_bytes(), says);
    }
    refused(Source::Xgboost, b"binf\0\0\0", "old binary format");
    let binary = fixture("xgb_binary.ubj");
    refused(Source::Xgboost, &binary[..binary.len() - 40], "its UBJSON");
}

#[test]
fn broken_files_of_lightgbm_say_where_and_what_to_do() {
    let model = text("lgb_multi.txt");
    let categories = text("lgb_categories.txt");
    let with = |from: &str, to: &str| {
        assert!(model.contains(from), "{from}");
        model.replacen(from, to, 1)
    };
    let cases = [
        (String::new(), "line 1"),
        (model[..model.len() / 3].into(), "was cut"),
        (with("objective=multiclass", "objective=mine"), "the objective `mine`"),
        (with("max_feature_idx=3", "max_feature_idx=x"), "`max_feature_idx`"),
        (with("max_feature_idx=3", "max_feature_idx=0"), "asks for feature"),
        (with("num_tree_per_iteration=3", "num_tree_per_iteration=1"), "`num_tree_per_iteration`"),
        (with("num_leaves=", "num_leaves=9"), "Tree=0"),
        (with("left_child=", "left_child=7000 "), "Tree=0"),
        (with("leaf_value=", "leaf_value=x "), "`leaf_value`"),
        (with("is_linear=0", "is_linear=1"), "linear models as leaves"),
        (categories.replacen("cat_boundaries=0", "cat_boundaries=9", 1), "categories are not in"),
    ];
    for (broken, says) in cases {
        refused(Source::Lightgbm, broken.as_bytes(), says);
    }
    refused(Source::Lightgbm, b"tree\n\xff\xfe", "it is not text");
}

#[test]
fn what_is_no_source_is_named_with_what_to_do() {
    let says = |name: &str, bytes: &[u8]| {
        recognise(Path::new(name), bytes).expect_err("no source").to_string()
    };
    for name in ["m.onnx", "m.gguf", "m.tflite", "m.mlmodel", "m.bin"] {
        let said = says(name, b"");
        assert!(said.contains("; "), "{name}: {said}");
    }
    assert_eq!(recognise(Path::new("m.bin"), b"tree\nversion=v4").ok(), Some(Source::Lightgbm));
}

#[test]
fn foreign_bytes_do_not_panic() {
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(state >> 33).expect("fits")
    };
    for name in ["xgb_multi.json", "xgb_binary.ubj", "lgb_categories.txt"] {
        let source = if name.starts_with("xgb") { Source::Xgboost } else { Source::Lightgbm };
        let whole = fixture(name);
        for _ in 0..60 {
            let mut bytes = whole.clone();
            for _ in 0..3 {
                let at = random() % bytes.len();
                bytes[at] = (random() % 256) as u8;
            }
            bytes.truncate(bytes.len() - random() % 2 * (random() % bytes.len()));
            let _ = native(source, &bytes);
        }
    }
    for _ in 0..20_000 {
        let pickle: Vec<u8> = (0..random() % 60)
            .map(|_| b"(}]u.sebRqh\x85\x86)NK\x80\x01cX"[random() % 20])
            .collect();
        let _ = Pickled::read(&pickle);
        let _ = weights(&pickle);
    }
}

#[test]
fn a_small_pickle_that_makes_endless_values_is_refused() {
    // Lists of empty lists: few are on the stack at a time.
    let list = [b"(".to_vec(), vec![b']'; 2_600_000], b"l".to_vec()].concat();
    let said = Pickled::read(&list.repeat(4)).expect_err("too many").to_string();
    assert!(said.contains("makes more than 10000000 values"), "{said}");
}

#[test]
fn weights_are_listed_and_nothing_is_called() {
    // What `pickle.dumps` makes of an object whose `__reduce__` is `(os.system, ("touch /tmp/planted",))`.
    let hostile =
        b"\x80\x02cposix\nsystem\nq\x00X\x12\x00\x00\x00touch /tmp/planted\x85q\x01Rq\x02.";
    let Ok(Pickled::Call(call)) = Pickled::read(hostile) else { panic!("a call") };
    assert_eq!(call.0, Pickled::Global("posix.system".into()));
    let header = br#"{"fc.weight":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}"#;
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.extend([0; 8]);
    let found = weights(&file).expect("sound").expect("weights");
    assert_eq!((found[0].name.as_str(), &found[0].shape[..]), ("fc.weight", &[1, 2][..]));
    file.pop();
    let error = weights(&file).expect_err("cut").to_string();
    assert!(error.contains("`fc.weight`") && error.contains("; "), "{error}");
}
