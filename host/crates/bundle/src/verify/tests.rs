//! Tests bundles that are wrong in only one way, with a valid signature, and the error of each stage.

use super::super::layout::write_header;
use super::super::manifest::ModelSpec;
use super::*;
use crate::signature::{PAYLOAD_TYPE, SignedDigests, seal};
use crate::{MODELS_MAX, sample, sign};
use hospes_core::dsse::{DsseError, Envelope};
use hospes_core::key::PartyKey;

const LIMITS: BundleLimits = BundleLimits { bundle_bytes_max: 1 << 22, code_bytes_max: 1 << 16 };

fn refused(bytes: Vec<u8>) -> BundleError {
    verify(bytes.into(), &LIMITS).map(|bundle| *bundle.digest()).expect_err("must be refused")
}

fn section(name: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_header(&mut out, name, payload.len() as u64).expect("small").expect("written");
    out.extend_from_slice(payload);
    out
}

/// A correct manifest of a bundle with these weights, published by [`sample::key`].
fn manifest(models: &[(&str, &[u8])]) -> Manifest {
    let models: Vec<_> = models.iter().map(|(name, bytes)| sample::model(name, bytes)).collect();
    let bytes = sample::signed(&models);
    verify(bytes.into(), &LIMITS).expect("sound").manifest().clone()
}

/// An unsigned bundle of these parts, without any checks.
fn assembled(component: &[u8], manifest: &[u8], models: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = [component, &section("hospes:manifest", manifest)].concat();
    for (name, weights) in models {
        bytes.extend(section(&format!("hospes:model/{name}"), weights));
    }
    bytes
}

fn statement(unsigned: &[u8]) -> SignedDigests {
    let layout = Layout::read(unsigned, &LIMITS).expect("sections in order");
    Measured::of(unsigned, &layout).statement
}

/// Signs bundles that [`sign`] would reject. Only the order of the sections must be right.
fn sealed(unsigned: Vec<u8>, key: &PartyKey) -> Vec<u8> {
    let signature = seal(&statement(&unsigned), key).expect("small");
    with_signature(unsigned, &signature)
}

fn with_signature(unsigned: Vec<u8>, signature: &[u8]) -> Vec<u8> {
    [unsigned, section("hospes:signature", signature)].concat()
}

/// A bundle with this manifest and these models, signed by its publisher.
fn saying(manifest: &Manifest, models: &[(&str, &[u8])]) -> Vec<u8> {
    let json = serde_json::to_vec(manifest).expect("JSON");
    sealed(assembled(&sample::component(), &json, models), &sample::key())
}

#[test]
fn the_helpers_of_these_tests_make_sound_bundles() {
    let models: [(&str, &[u8]); 2] = [("a", b"one"), ("b", b"two")];
    verify(saying(&manifest(&models), &models).into(), &LIMITS).expect("sound");
}

#[test]
fn claims_about_models_that_do_not_hold_are_refused_though_signed() {
    let models: [(&str, &[u8]); 2] = [("a", b"one"), ("b", b"two")];
    let claims = |change: &dyn Fn(&mut Vec<ModelSpec>)| {
        let mut manifest = manifest(&models);
        change(&mut manifest.models);
        match refused(saying(&manifest, &models)) {
            BundleError::Contents(error) => error,
            error => panic!("{error:?}"),
        }
    };
    type Claim<'a> = (&'a dyn Fn(&mut Vec<ModelSpec>), fn(&ContentsError) -> bool);
    let cases: [Claim; 7] = [
        (&|models| models.swap(0, 1), |e| matches!(e, ContentsError::ModelMissing { .. })),
        (&|models| drop(models.remove(0)), |e| matches!(e, ContentsError::ModelMissing { .. })),
        (&|models| drop(models.pop()), |e| matches!(e, ContentsError::ModelExtra { .. })),
        (&Vec::clear, |e| matches!(e, ContentsError::ModelExtra { .. })),
        (
            &|models| {
                let other = ModelSpec { name: "c".parse().expect("a name"), ..models[0].clone() };
                models.push(other);
            },
            |e| matches!(e, ContentsError::ModelMissing { name } if name.as_str() == "c"),
        ),
        (&|models| models[1].bytes += 1, |e| matches!(e, ContentsError::ModelSize { .. })),
        (
            &|models| models[1].sha256 = models[0].sha256,
            |e| matches!(e, ContentsError::ModelDigest { name, .. } if name.as_str() == "b"),
        ),
    ];
    for (index, (change, expected)) in cases.iter().enumerate() {
        let error = claims(change);
        assert!(expected(&error), "case {index}: {error:?}");
    }
}

#[test]
fn a_manifest_that_is_refused_is_refused_though_signed() {
    let json = String::from_utf8(manifest(&[]).to_json().expect("sound")).expect("text");
    let with = |from: &str, to: &str| {
        assert!(json.contains(from), "{from} in {json}");
        let manifest = json.replacen(from, to, 1);
        refused(sealed(assembled(&sample::component(), manifest.as_bytes(), &[]), &sample::key()))
    };
    let manifest = |from: &str, to: &str| match with(from, to) {
        BundleError::Manifest(error) => error,
        error => panic!("{to}: {error:?}"),
    };
    for (from, to) in [
        ("{", "{\"extra\":1,"),
        ("{", "{\"name\":\"sample\","),
        ("{", "["),
        ("\"version\":\"1.0.0\"", "\"version\":\"1\""),
        ("\"version\":\"1.0.0\",", ""),
        ("\"name\":\"sample\"", "\"name\":\"../sample\""),
        ("\"licence\":\"Apache-2.0\"", "\"licence\":\"\""),
        ("\"publisher\":\"did:key:z", "\"publisher\":\"did:key:y"),
        ("\"models\":[]", "\"models\":[],\"capabilities\":[\"network\"]"),
        ("\"models\":[]", "\"models\":[{}]"),
        ("\"models\":[]", "\"models\":[],\"card\":{\"extra\":\"x\"}"),
        ("\"models\":[]", "\"models\":[],\"limits\":{\"deadline_ms\":-1}"),
    ] {
        let error = manifest(from, to);
        assert!(matches!(error, ManifestError::Json(_)), "{to}: {error:?}");
    }
    assert!(matches!(manifest("\"format\":1", "\"format\":2"), ManifestError::Format { found: 2 }));
    assert!(matches!(manifest("A sample", ""), ManifestError::SummaryEmpty));
    assert!(matches!(manifest("A sample", &"a".repeat(513)), ManifestError::TextTooLong { .. }));
    assert!(matches!(manifest("A sample", "A\\u001b[2J"), ManifestError::ControlCharacter { .. }));
    assert!(matches!(manifest("\"1.0.0\"", "\"1.0.0+b\""), ManifestError::BuildMetadata(_)));
    let zero = "\"models\":[],\"limits\":{\"deadline_ms\":0}";
    assert!(matches!(manifest("\"models\":[]", zero), ManifestError::ZeroLimit { .. }));
    let functions = |count: usize| {
        let function = |n| format!("{{\"name\":\"f{n}\",\"export\":\"detect\"}}");
        format!("\"functions\":[{},", (0..count).map(function).collect::<Vec<_>>().join(","))
    };
    let many = manifest("\"functions\":[", &functions(255));
    assert!(matches!(many, ManifestError::TooMany { what: "functions", count: 257, .. }));
    let twice =
        manifest("\"functions\":[", "\"functions\":[{\"name\":\"detect\",\"export\":\"detect\"},");
    assert!(matches!(twice, ManifestError::Duplicate { what: "function", .. }));
    let absent = with("\"export\":\"detect\"", "\"export\":\"absent\"");
    assert!(matches!(absent, BundleError::Contents(ContentsError::FunctionMissing { .. })));
}

#[test]
fn the_signer_must_be_the_publisher_that_the_manifest_names() {
    let mut manifest = manifest(&[]);
    manifest.publisher = None;
    assert!(matches!(refused(saying(&manifest, &[])), BundleError::NoPublisher { .. }));
    let other = PartyKey::from_secret(&[8; 32]).party();
    manifest.publisher = Some(other);
    let error = refused(saying(&manifest, &[]));
    assert!(
        matches!(error, BundleError::OtherPublisher { signer, publisher } if signer == sample::key().party() && publisher == other)
    );
}

#[test]
fn a_component_that_is_no_component_is_refused_though_signed() {
    let json = manifest(&[]).to_json().expect("sound");
    // A malformed type section.
    let component = [sample::component(), vec![7, 2, 1, 0]].concat();
    let error = refused(sealed(assembled(&component, &json, &[]), &sample::key()));
    assert!(matches!(error, BundleError::Shape(ShapeError::Invalid(_))), "{error:?}");
}

#[test]
fn a_signature_of_another_kind_is_refused() {
    let json = manifest(&[]).to_json().expect("sound");
    let unsigned = assembled(&sample::component(), &json, &[]);
    let payload = serde_json_canonicalizer::to_vec(&statement(&unsigned)).expect("JSON");
    let text = String::from_utf8(payload.clone()).expect("text");
    let other = PartyKey::from_secret(&[8; 32]);
    let envelope = |kind: &str, payload: &[u8]| {
        Envelope::sign(kind, payload.to_vec(), &sample::key()).expect("small")
    };
    let signature = |section: &[u8]| match refused(with_signature(unsigned.clone(), section)) {
        BundleError::Signature(error) => error,
        error => panic!("{error:?}"),
    };
    let typed = signature(&envelope("application/vnd.hospes.offer+json", &payload).to_bytes());
    assert!(matches!(typed, SignatureSectionError::PayloadType { .. }));
    let mut two = envelope(PAYLOAD_TYPE, &payload);
    two.add_signature(&other).expect("a second");
    assert!(matches!(signature(&two.to_bytes()), SignatureSectionError::Signers { count: 2 }));
    for payload in [format!(" {text}"), format!("{text} "), text.replace("\":", "\": ")] {
        let error = signature(&envelope(PAYLOAD_TYPE, payload.as_bytes()).to_bytes());
        assert!(
            matches!(error, SignatureSectionError::NotCanonical { .. }),
            "{payload}: {error:?}"
        );
    }
    for payload in ["", "{}", "[]", "x", &text.replace('{', "{\"extra\":1,"), &text[1..]] {
        let error = signature(&envelope(PAYLOAD_TYPE, payload.as_bytes()).to_bytes());
        assert!(matches!(error, SignatureSectionError::Payload(_)), "{payload}: {error:?}");
    }
    for section in [&b""[..], b"{}", b"null", b"\xff"] {
        assert!(matches!(
            signature(section),
            SignatureSectionError::Envelope(DsseError::Malformed { .. })
        ));
    }
    // The right bytes under another model's name.
    let sound = String::from_utf8(envelope(PAYLOAD_TYPE, &payload).to_bytes()).expect("text");
    let renamed = sound.replace(&sample::key().party().to_string(), &other.party().to_string());
    let forged = signature(renamed.as_bytes());
    assert!(
        matches!(forged, SignatureSectionError::Envelope(DsseError::Forged { .. })),
        "{forged:?}"
    );
}

#[test]
fn a_part_that_differs_from_what_was_signed_is_named() {
    let models: [(&str, &[u8]); 2] = [("a", b"one"), ("b", b"two")];
    let json = manifest(&models).to_json().expect("sound");
    let component = sample::component();
    let signature = seal(&statement(&assembled(&component, &json, &models)), &sample::key());
    let signature = signature.expect("small");
    let found = |component: &[u8], json: &[u8], models: &[(&str, &[u8])]| match refused(
        with_signature(assembled(component, json, models), &signature),
    ) {
        BundleError::Changed { part } => part,
        error => panic!("{error:?}"),
    };
    let longer = [component.clone(), vec![0, 2, 1, b'x']].concat();
    assert_eq!(found(&longer, &json, &models), BundlePart::Component);
    assert_eq!(found(&component, &[&json[..], b" "].concat(), &models), BundlePart::Manifest);
    let weights = BundlePart::Weights("b".parse().expect("a name"));
    assert_eq!(found(&component, &json, &[("a", b"one"), ("b", b"twO")]), weights);
    assert_eq!(found(&component, &json, &[("a", b"one"), ("b", b"")]), weights);
    assert_eq!(found(&component, &json, &[("b", b"two"), ("a", b"one")]), BundlePart::Models);
    assert_eq!(found(&component, &json, &models[..1]), BundlePart::Models);
    assert_eq!(found(&component, &json, &[("a", b"one"), ("c", b"two")]), BundlePart::Models);
    // If the digests of the parts do not match the bundle, the signature does not cover it.
    let unsigned = assembled(&component, &json, &models);
    let mut lie = statement(&unsigned);
    lie.sha256 = lie.component;
    let lie = seal(&lie, &sample::key()).expect("small");
    let error = refused(with_signature(unsigned, &lie));
    assert!(matches!(error, BundleError::Changed { part: BundlePart::Headers }), "{error:?}");
}

#[test]
fn sections_out_of_order_have_their_own_errors() {
    let json = manifest(&[]).to_json().expect("sound");
    let sound = assembled(&sample::component(), &json, &[]);
    let layout = |more: Vec<u8>| match refused([sound.clone(), more].concat()) {
        BundleError::Layout(error) => error,
        error => panic!("{error:?}"),
    };
    let model = |name: &str| section(&format!("hospes:model/{name}"), b"w");
    let signature = || section("hospes:signature", b"{}");
    assert!(matches!(refused(sound.clone()), BundleError::Unsigned));
    assert!(matches!(refused(sample::component()), BundleError::Layout(LayoutError::NoManifest)));
    assert!(matches!(layout(section("hospes:manifest", &json)), LayoutError::Duplicate { .. }));
    assert!(matches!(layout([model("a"), model("a")].concat()), LayoutError::Duplicate { .. }));
    assert!(matches!(
        layout([signature(), model("a")].concat()),
        LayoutError::AfterSignature { .. }
    ));
    assert!(matches!(
        layout([signature(), signature()].concat()),
        LayoutError::AfterSignature { .. }
    ));
    assert!(matches!(layout(section("hospes:other", b"")), LayoutError::Unknown { .. }));
    assert!(matches!(layout(section("hospes:", b"")), LayoutError::Unknown { .. }));
    assert!(matches!(layout(section("name", b"")), LayoutError::CodeAfterManifest { .. }));
    assert!(matches!(layout(model("..")), LayoutError::ModelName { .. }));
    assert!(matches!(layout(vec![0]), LayoutError::HeaderTruncated { .. }));
    assert!(matches!(layout(vec![0, 0x80]), LayoutError::HeaderTruncated { .. }));
    assert!(matches!(layout(vec![0, 1]), LayoutError::Truncated { .. }));
    assert!(matches!(layout(vec![0, 0xff, 0xff, 0xff, 0xff, 0x7f]), LayoutError::Length { .. }));
    assert!(matches!(layout(vec![0, 1, 5]), LayoutError::SectionName { .. }));
    let mut padded = model("a");
    padded.splice(1..2, [padded[1] | 0x80, 0]);
    assert!(matches!(layout(padded), LayoutError::LengthPadded { .. }));
    let many = (0..=MODELS_MAX).flat_map(|n| model(&n.to_string()));
    assert!(matches!(layout(many.collect()), LayoutError::TooManyModels));
    let large = section("hospes:signature", &vec![b' '; (256 << 10) + 1]);
    assert!(matches!(layout(large), LayoutError::SectionTooLarge { .. }));
}

#[test]
fn every_bit_of_a_small_bundle_counts() {
    let bytes =
        sign(&sample::unsigned(&[sample::model("m", b"w")]), &sample::key()).expect("sound");
    let mut changed = bytes.clone();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            changed[at] ^= 1 << bit;
            assert!(verify(changed.clone().into(), &LIMITS).is_err(), "bit {bit} of byte {at}");
            changed[at] ^= 1 << bit;
        }
    }
    verify(changed.into(), &LIMITS).expect("as it was");
}

#[test]
fn a_kept_bundle_is_verified_as_when_it_was_published() {
    let bytes = bytes::Bytes::from(sample::signed(&[sample::model("a", b"weights")]));
    let first = verify(bytes.clone(), &LIMITS).expect("sound");
    let again = verify_kept(bytes.clone(), first.digest(), &LIMITS).expect("sound");
    assert_eq!((again.digest(), again.publisher()), (first.digest(), first.publisher()));
    assert_eq!(again.manifest(), first.manifest());
    assert_eq!(again.component_digest(), first.component_digest());
    // Every changed byte is found, and so is another bundle in its place.
    for place in 0..bytes.len() {
        let mut changed = bytes.to_vec();
        changed[place] ^= 1;
        verify_kept(changed.into(), first.digest(), &LIMITS).expect_err("changed");
    }
    let other = sample::signed(&[sample::model("a", b"others")]).into();
    let refused = verify_kept(other, first.digest(), &LIMITS).expect_err("another");
    assert!(matches!(refused, BundleError::Kept { .. }), "{refused}");
}
