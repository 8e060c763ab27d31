//! Tests of whole bundles. `verify/tests` changes every bit, and tests the errors of each stage.

use bytes::Bytes;

use super::layout::write_header;
use super::*;
use hospes_core::id::Digest;
use hospes_core::key::PartyKey;

const LIMITS: BundleLimits = BundleLimits { bundle_bytes_max: 1 << 20, code_bytes_max: 1 << 16 };

fn refused(bytes: Vec<u8>) -> BundleError {
    verify(bytes.into(), &LIMITS).map(|bundle| *bundle.digest()).expect_err("must be refused")
}

/// The error's message with those of its causes.
fn chain(error: &BundleError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn signed() -> Vec<u8> {
    sample::signed(&[sample::model("a", b"weights of a"), sample::model("b", b"weights of b")])
}

#[test]
fn what_is_signed_verifies_and_says_who_signed_it() {
    let bytes = signed();
    let bundle = verify(bytes.clone().into(), &LIMITS).expect("sound");
    assert_eq!(bundle.publisher(), &sample::key().party());
    assert_eq!(*bundle.digest(), Digest::of(&bytes));
    assert_eq!(bundle.component().as_ref(), sample::component());
    assert_eq!(*bundle.component_digest(), Digest::of(&sample::component()));
    let weights: Vec<Bytes> =
        bundle.manifest().models.iter().map(|model| bundle.model(model)).collect();
    assert_eq!(weights, [&b"weights of a"[..], b"weights of b"]);
}

#[test]
fn the_part_that_changed_is_named() {
    let bytes = signed();
    let at = |needle: &[u8]| bytes.windows(needle.len()).position(|window| window == needle);
    let flipped = |needle: &[u8], offset: usize| {
        let mut changed = bytes.clone();
        changed[at(needle).expect("it is there") + offset] ^= 1;
        chain(&refused(changed))
    };
    for (needle, offset, part) in [
        (&b"weights of a"[..], 3, "weights"),
        (b"weights of b", 0, "`b`"),
        (b"\"A sample\"", 3, "manifest"),
        (b"payloadType\"", 3, "signature"),
        (b"sample:plugin/host", 8, "code"),
    ] {
        let said = flipped(needle, offset);
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn a_cut_bundle_is_refused_wherever_it_is_cut() {
    let bytes = signed();
    for length in 0..bytes.len() {
        refused(bytes[..length].to_vec());
    }
    for more in [&b"\0"[..], b"\0\x01\0", &bytes] {
        refused([&bytes[..], more].concat());
    }
}

#[test]
fn another_s_signature_or_none_is_refused() {
    let unsigned = sample::unsigned(&[]);
    refused(unsigned.clone());
    let other = PartyKey::from_secret(&[8; 32]);
    let by_other = sign(&unsigned, &other).expect("sound");
    assert_eq!(
        *verify(by_other.clone().into(), &LIMITS).expect("sound").publisher(),
        other.party()
    );
    // The signature of another bundle.
    let own = sample::signed(&[]);
    let tail = |bytes: &[u8]| {
        let name = b"hospes:signature";
        bytes.windows(name.len()).rposition(|window| window == name).expect("signed") - 3
    };
    refused([&own[..tail(&own)], &by_other[tail(&by_other)..]].concat());
}

#[test]
fn signing_is_reproducible_and_signing_again_replaces_the_signature() {
    let unsigned = sample::unsigned(&[sample::model("a", b"weights")]);
    let once = sign(&unsigned, &sample::key()).expect("sound");
    assert_eq!(sign(&unsigned, &sample::key()).expect("sound"), once);
    assert_eq!(sign(&once, &sample::key()).expect("sound"), once);
    let other = PartyKey::from_secret(&[8; 32]);
    assert_eq!(
        sign(&once, &other).expect("sound"),
        sign(&unsigned, &other).expect("sound"),
        "nothing of the first signature is left"
    );
    let mut changed = once.clone();
    *changed.last_mut().expect("bytes") ^= 1;
    assert!(sign(&changed, &other).is_err(), "a change that nobody made on purpose is not signed");
}

#[test]
fn limits_are_named_and_hold_to_the_byte() {
    let bytes = signed();
    let length = bytes.len() as u64;
    let code = sample::component().len() as u64;
    let with = |bundle_bytes_max, code_bytes_max| {
        verify(bytes.clone().into(), &BundleLimits { bundle_bytes_max, code_bytes_max })
            .map(|_| ())
            .map_err(|error| chain(&error))
    };
    assert_eq!(with(length, code), Ok(()));
    let error = with(length - 1, code).expect_err("too large");
    assert!(error.contains("bundle_bytes_max") && error.contains(&length.to_string()), "{error}");
    assert!(with(length, code - 1).expect_err("too much code").contains("code_bytes_max"));
}

/// A custom section with this name.
fn section(name: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_header(&mut out, name, payload.len() as u64).expect("small").expect("written");
    out.extend_from_slice(payload);
    out
}

/// A manifest section with this content.
fn manifest(json: &str) -> Vec<u8> {
    section("hospes:manifest", json.as_bytes())
}

const SOUND: &str = r#"{"format":1,"name":"sample","version":"1.0.0","licence":"MIT","summary":"A sample","functions":[],"models":[]}"#;

/// The sample's component with these sections after it.
fn after(sections: &[Vec<u8>]) -> Vec<u8> {
    [sample::component(), sections.concat()].concat()
}

fn model(name: &str) -> Vec<u8> {
    section(&format!("hospes:model/{name}"), b"w")
}

fn signature() -> Vec<u8> {
    section("hospes:signature", b"{}")
}

/// Bundles with wrong sections.
fn misplaced() -> Vec<(String, Vec<u8>)> {
    let sound = || manifest(SOUND);
    let models: Vec<u8> = (0..=MODELS_MAX).flat_map(|n| model(&format!("m{n}"))).collect();
    let large = |name, bytes| section(name, &vec![b' '; bytes + 1]);
    let padded = [&[0, 0x91, 0x00, 0x0f], &b"hospes:manifest{"[..]].concat();
    let cases = [
        ("two manifests", after(&[sound(), sound()])),
        ("model before manifest", after(&[model("a"), sound()])),
        ("signature before manifest", after(&[signature(), sound()])),
        ("after the signature", after(&[sound(), signature(), model("a")])),
        ("two signatures", after(&[sound(), signature(), signature()])),
        ("a model twice", after(&[sound(), model("a"), model("a")])),
        ("an unknown section", after(&[sound(), section("hospes:extra", b"")])),
        ("a model's bad name", after(&[sound(), model("../a")])),
        ("a model's empty name", after(&[sound(), model("")])),
        ("an unlisted model", after(&[sound(), model("a"), signature()])),
        ("code after the manifest", after(&[sound(), vec![1, 0], signature()])),
        ("no manifest", sample::component()),
        ("too many models", after(&[sound(), models])),
        ("a large manifest", after(&[large("hospes:manifest", MANIFEST_BYTES_MAX)])),
        ("a large signature", after(&[sound(), large("hospes:signature", SIGNATURE_BYTES_MAX)])),
        ("a padded length", after(&[padded])),
        ("a name that is not UTF-8", after(&[vec![0, 3, 2, 0xff, 0xfe]])),
        ("a name beyond its section", after(&[vec![0, 2, 9, b'x']])),
        ("a length beyond the end", after(&[vec![0, 0xff, 0xff, 0x03, 1]])),
        ("a length of six bytes", after(&[vec![0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00]])),
        ("nothing", Vec::new()),
        ("text", b"hello".to_vec()),
        ("a cut magic", b"\0as".to_vec()),
        ("no version", b"\0asm".to_vec()),
        ("a core module", b"\0asm\x01\0\0\0".to_vec()),
        ("an unknown version", b"\0asm\x0e\0\x01\0".to_vec()),
        ("an empty component", b"\0asm\x0d\0\x01\0".to_vec()),
    ];
    cases.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect()
}

/// Bundles with a wrong manifest.
fn misdescribed() -> Vec<(String, Vec<u8>)> {
    let many = |count: usize| -> String {
        let function = |n| format!(r#"{{"name":"f{n}","export":"detect"}}"#);
        (0..count).map(function).collect::<Vec<_>>().join(",")
    };
    let too_many = format!("\"functions\":[{}]", many(FUNCTIONS_MAX + 1));
    let twice = format!("\"functions\":[{0},{0}]", many(1));
    let changes = [
        ("\"format\":1", "\"format\":2"),
        ("\"format\":1", "\"format\":\"1\""),
        ("\"format\":1,", ""),
        ("\"format\":1", "\"format\":1,\"format\":1"),
        ("\"format\":1", "\"format\":1,\"extra\":1"),
        ("\"sample\"", "\"Sample\""),
        ("\"sample\"", "\"\""),
        ("\"1.0.0\"", "\"1.0\""),
        ("\"1.0.0\"", "\"1.0.0+build\""),
        ("\"MIT\"", "\"MIT/X\""),
        ("\"A sample\"", "\"\""),
        ("\"A sample\"", "\"A\\nsample\""),
        ("\"A sample\"", "\"A\\u0007sample\""),
        ("\"models\":[]", "\"models\":[],\"capabilities\":[\"network\"]"),
        ("\"models\":[]", "\"models\":[],\"limits\":{\"memory_bytes\":0}"),
        ("\"models\":[]", "\"models\":[],\"limits\":{\"cores\":1}"),
        ("\"models\":[]", "\"models\":[],\"card\":{\"secret\":\"x\"}"),
        ("\"models\":[]", "\"models\":{}"),
        ("\"functions\":[]", "\"functions\":[{\"name\":\"f\",\"export\":\"absent\"}]"),
        ("\"functions\":[]", "\"functions\":[{\"name\":\"F\",\"export\":\"detect\"}]"),
        ("\"functions\":[]", &too_many),
        ("\"functions\":[]", &twice),
        ("{\"format\"", "[{\"format\""),
        ("}", ""),
    ];
    let changed = changes.into_iter().map(|(right, wrong)| {
        let bytes = after(&[manifest(&SOUND.replacen(right, wrong, 1))]);
        (format!("manifest: {wrong:.60}"), bytes)
    });
    changed.collect()
}

#[test]
fn malformed_bundles_are_refused_by_everybody_who_reads_one() {
    let cases = [misplaced(), misdescribed()].concat();
    assert!(cases.len() >= 50, "{} cases", cases.len());
    let folder = tempfile::tempdir().expect("a folder");
    for (name, bytes) in cases {
        let error = refused(bytes.clone()).to_string();
        assert!(error.len() > 10, "{name}: {error}");
        let unsigned = sign(&bytes, &sample::key()).expect_err(&name);
        assert!(!matches!(unsigned, SignError::Bundle(BundleError::Unsigned)), "{name}");
        let path = folder.path().join("bundle.wasm");
        std::fs::write(&path, bytes).expect("written");
        // An unsigned bundle can be inspected if everything else is right. These bundles are wrong in another way.
        assert!(inspect(&path).is_err(), "{name} would be shown as sound");
    }
}

#[test]
fn an_unsigned_bundle_can_be_looked_at_and_a_damaged_one_cannot() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bundle.wasm");
    let unsigned = sample::unsigned(&[sample::model("a", b"weights")]);
    std::fs::write(&path, &unsigned).expect("written");
    let inspection = inspect(&path).expect("sound");
    assert!(inspection.signer().is_none());
    assert_eq!(inspection.imports(), ["sample:plugin/host@0.1.0"]);
    sign_to_file(&path, &sample::key(), &path).expect("signed in place");
    assert_eq!(inspect(&path).expect("sound").signer(), Some(sample::key().party()));
    let mut bytes = std::fs::read(&path).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).expect("written");
    assert!(inspect(&path).is_err());
}

#[test]
fn a_decoder_is_packed_as_it_is_and_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bundle.wasm");
    let weights = sample::decoder();
    let models = [sample::decoder_model("speaker", &weights)];
    let packed = pack_to_file(&sample::component(), sample::description(), &models, &path);
    let packed = packed.expect("packed");
    assert_eq!(packed.decoders[0].as_ref().map(|config| config.layers), Some(1));
    assert_eq!(packed.manifest.models[0].encoding, Encoding::Decoder);
    let guest = GuestCode::read(&path).expect("a bundle");
    assert_eq!(guest.component, sample::component());
    let (spec, bytes) = guest.models().next().expect("a model");
    assert_eq!((spec.name.as_str(), bytes), ("speaker", &Bytes::from(weights.clone())));
    let signed = sign(&std::fs::read(&path).expect("there"), &sample::key()).expect("signed");
    let verified = verify(signed.into(), &LIMITS).expect("sound");
    assert_eq!(verified.model(&verified.manifest().models[0]), weights);
}

#[test]
fn a_malformed_decoder_is_neither_packed_nor_signed_nor_accepted() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bundle.wasm");
    let mut weights = sample::decoder();
    let last = weights.len() - 1;
    weights[last] = b'x';
    weights.truncate(last);
    let models = [sample::decoder_model("speaker", &weights)];
    let packed = pack_to_file(&sample::component(), sample::description(), &models, &path);
    assert!(matches!(packed, Err(PackError::Decoder { .. })), "{packed:?}");
    let unsigned = sample::unsigned(&models);
    assert!(sign(&unsigned, &sample::key()).is_err());
    std::fs::write(&path, &unsigned).expect("written");
    let refused = inspect(&path).expect_err("refused");
    let InspectError::Bundle(refused) = refused else { panic!("{refused}") };
    let text = chain(&refused);
    assert!(text.starts_with("model `speaker` is no decoder that hosts accept"), "{text}");
    assert!(text.contains("outside the"), "{text}");
}

#[test]
fn a_decoder_has_no_batch_axis() {
    let model =
        ModelInput { batch_axis: Some(0), ..sample::decoder_model("speaker", &sample::decoder()) };
    let refused = pack(&sample::component(), sample::description(), &[model], &mut Vec::new());
    let axis = matches!(refused, Err(PackError::Manifest(ManifestError::DecoderBatch { .. })));
    assert!(axis, "{refused:?}");
}
