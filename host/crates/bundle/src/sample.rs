//! The parts of a small bundle, for tests.

use std::convert::Infallible;

use bytes::Bytes;

use super::manifest::{Card, Encoding, FunctionSpec, RequestedLimits};
use super::pack::{Description, ModelInput, Origin, Source, pack};
use hospes_core::backend::Device;
use hospes_core::key::PartyKey;
use hospes_decoder::{Config, Encoded, Kind, Part, Shape, Weights};

/// It has no name section, so its last section holds its last export. Type 0 is the type of the import.
const COMPONENT: &str = r#"(component
    (import "sample:plugin/host@0.1.0" (instance))
    (core module
        (func (export "detect") (param i32) (result i32) (local.get 0))
        (func (export "double") (param i32) (result i32) (i32.shl (local.get 0) (i32.const 1))))
    (core instance (instantiate 0))
    (alias core export 0 "detect" (core func))
    (alias core export 0 "double" (core func))
    (type (func (param "value" u32) (result u32)))
    (func (type 1) (canon lift (core func 0)))
    (func (type 1) (canon lift (core func 1)))
    (export "detect" (func 0))
    (instance (export "double" (func 1)))
    (export "sample:plugin/extra@0.1.0" (instance 1)))"#;

/// A component with the functions `detect` and `sample:plugin/extra@0.1.0#double`.
pub fn component() -> Vec<u8> {
    wat::parse_str(COMPONENT).expect("the sample is a component")
}

/// The publisher's description of the bundle.
pub fn description() -> Description {
    let function = |name: &str, export: &str| FunctionSpec {
        name: name.parse().expect("a function's name"),
        export: export.parse().expect("an export"),
        docs: Some(format!("What `{name}` does.")),
    };
    Description {
        name: "sample".parse().expect("a label"),
        version: semver::Version::new(1, 0, 0),
        licence: "Apache-2.0".parse().expect("a licence"),
        summary: "A sample".to_owned(),
        card: Card::default(),
        functions: vec![
            function("detect", "detect"),
            function("double", "sample:plugin/extra@0.1.0#double"),
        ],
        types: Vec::new(),
        limits: RequestedLimits::default(),
        origin: Origin::default(),
    }
}

/// The smallest ONNX model: a version and an empty graph.
pub const ONNX: &[u8] = b"\x08\x08\x3a\x00";

/// A model of these bytes.
pub fn model(name: &str, bytes: &[u8]) -> ModelInput {
    ModelInput {
        name: name.parse().expect("a graph's name"),
        encoding: Encoding::Onnx,
        batch_axis: Some(0),
        device: Device::Any,
        backend: None,
        pin: None,
        source: Source::Bytes(Bytes::copy_from_slice(bytes)),
    }
}

/// A decoder of one layer, whose weights are 0.
pub fn decoder() -> Vec<u8> {
    struct Zeros;

    impl Weights for Zeros {
        type Error = Infallible;

        fn kind(&self, _: &Part) -> Kind {
            Kind::F16
        }

        fn part(&mut self, part: &Part) -> Result<Encoded, Infallible> {
            let (size, count) = match part.shape {
                Shape::Matrix { rows, columns } => (2, rows * columns),
                Shape::Vector(count) => (4, count),
            };
            Ok(Encoded { data: vec![0; (size * count) as usize], scales: Vec::new() })
        }
    }

    let config = serde_json::json!({
        "format": 1, "architecture": "llama", "layers": 1, "hidden": 4, "heads": 2, "kv_heads": 1, "head_size": 2,
        "intermediate": 4, "vocabulary": 2, "context": 8, "rope_theta": 1e4, "norm_eps": 1e-5, "tied": true, "eos": [1],
    });
    let config: Config = serde_json::from_value(config).expect("a config");
    let tokenizer = r#"{"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}}"#;
    let mut out = Vec::new();
    hospes_decoder::write(&config, (tokenizer, None), &mut Zeros, &mut out).expect("written");
    out
}

/// A decoder's file as a model.
pub fn decoder_model(name: &str, bytes: &[u8]) -> ModelInput {
    ModelInput { encoding: Encoding::Decoder, batch_axis: None, ..model(name, bytes) }
}

/// An unsigned bundle with these models.
pub fn unsigned(models: &[ModelInput]) -> Vec<u8> {
    let mut out = Vec::new();
    pack(&component(), description(), models, &mut out).expect("a sound bundle");
    out
}

/// A signed bundle with these models.
pub fn signed(models: &[ModelInput]) -> Vec<u8> {
    super::sign(&unsigned(models), &key()).expect("a sound bundle")
}

/// The key that signs [`signed`].
pub fn key() -> PartyKey {
    PartyKey::from_secret(&[7; 32])
}
