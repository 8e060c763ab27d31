//! Tests of what a bundle carries besides its models: its place, its limits, that it is signed, and that it is about this model.

use bytes::Bytes;

use super::*;
use crate::layout::{LayoutError, write_header};
use crate::lineage::{Derivation, Evaluation, Figure, FoundBy, How};
use crate::manifest::ManifestError;
use crate::pack::{Origin, PackError, pack};
use crate::provenance::tests::{signed as signed_training, training};
use crate::signature::BundlePart;
use crate::{BundleError, BundleLimits, Extra, PROFILE_BYTES_MAX, sample, sign, verify};
use hospes_core::id::Digest;
use hospes_evidence::Profile;

const LIMITS: BundleLimits = BundleLimits { bundle_bytes_max: 1 << 22, code_bytes_max: 1 << 16 };
const WEIGHTS: &[u8] = b"weights of a";

/// The proof of a training whose model has these bytes.
fn proof(weights: &[u8]) -> Bytes {
    let mut training = training();
    training.model.sha256 = Digest::of(weights);
    signed_training(&training).into()
}

fn origin() -> Origin {
    Origin {
        provenance: Some(proof(WEIGHTS)),
        profile: Some(profile()),
        card: Some(Bytes::from_static(b"# A card")),
        ..Origin::default()
    }
}

/// A profile of 2,000 rows, without features.
fn profile() -> Bytes {
    let profile = Profile::new(Digest::of(b"rows"), 2_000, Vec::new(), Vec::new());
    serde_json::to_vec(&profile.expect("enough rows")).expect("JSON").into()
}

fn packed(origin: Origin) -> Result<Vec<u8>, PackError> {
    let mut description = sample::description();
    description.origin = origin;
    let mut out = Vec::new();
    let models = [sample::model("a", WEIGHTS)];
    pack(&sample::component(), description, &models, &mut out).map(|_| out)
}

fn signed(origin: Origin) -> Vec<u8> {
    sign(&packed(origin).expect("sound"), &sample::key()).expect("sound")
}

fn refused(bytes: Vec<u8>) -> BundleError {
    verify(bytes.into(), &LIMITS).map(|bundle| *bundle.digest()).expect_err("must be refused")
}

fn section(extra: Extra, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_header(&mut out, extra.section(), payload.len() as u64).expect("small").expect("written");
    out.extend_from_slice(payload);
    out
}

#[test]
fn what_a_bundle_carries_is_read_back_signed() {
    let bytes = signed(origin());
    let bundle = verify(bytes.clone().into(), &LIMITS).expect("sound");
    let extras = bundle.extras();
    let training = extras.provenance().expect("a proof").training();
    assert_eq!(training.model.sha256, bundle.manifest().models[0].sha256);
    assert_eq!((extras.profile_bytes(), extras.card_bytes()), (Some(profile().len()), Some(8)));
    assert_eq!(bundle.model(&bundle.manifest().models[0]), WEIGHTS);
    // Signing again keeps everything.
    assert_eq!(sign(&bytes, &sample::key()).expect("sound"), bytes);
    let none = verify(sample::signed(&[]).into(), &LIMITS).expect("sound");
    assert_eq!(*none.extras(), Extras::default());
}

/// Bundles of before have the signatures that they had.
#[test]
fn a_bundle_without_extras_is_signed_as_before_there_were_any() {
    let bytes = sample::signed(&[sample::model("a", WEIGHTS)]);
    let layout = crate::layout::Layout::read(&bytes, &LIMITS).expect("sound");
    let section = layout.signature.expect("signed").payload;
    let envelope = hospes_core::dsse::Envelope::parse(&bytes[section]).expect("an envelope");
    let payload: serde_json::Value = serde_json::from_slice(envelope.payload()).expect("JSON");
    let members: Vec<&String> = payload.as_object().expect("an object").keys().collect();
    assert_eq!(members, ["component", "manifest", "models", "sha256"]);
}

#[test]
fn a_changed_byte_of_an_extra_is_named() {
    let bytes = signed(origin());
    for (needle, part) in [
        (&b"\"inputs\""[..], BundlePart::Profile),
        (b"# A card", BundlePart::Card),
        (b"vnd.in-toto+json", BundlePart::Provenance),
    ] {
        let at = bytes.windows(needle.len()).position(|window| window == needle);
        let mut changed = bytes.clone();
        changed[at.expect("it is there")] ^= 1;
        match refused(changed) {
            BundleError::Changed { part: found } => assert_eq!(found, part),
            error => panic!("{error:?}"),
        }
    }
    // Cutting one out is a change too.
    let without = signed(Origin { card: None, ..origin() });
    let with = section(Extra::Card, b"# A card");
    let at = bytes.windows(with.len()).position(|window| window == with).expect("it is there");
    let cut = [&bytes[..at], &bytes[at + with.len()..]].concat();
    assert_ne!(cut, without);
    assert!(matches!(refused(cut), BundleError::Changed { part: BundlePart::Card }));
}

#[test]
fn extras_have_an_order_a_size_and_are_there_once() {
    let sound = packed(Origin::default()).expect("sound");
    let layout = |pieces: &[(Extra, &[u8])]| {
        let more = pieces.iter().flat_map(|(extra, payload)| section(*extra, payload));
        let bytes: Vec<u8> = sound.iter().copied().chain(more).collect();
        match refused(bytes) {
            BundleError::Layout(error) => error,
            error => panic!("{error:?}"),
        }
    };
    let (profile, card) = ((Extra::Profile, &b"{}"[..]), (Extra::Card, &b"x"[..]));
    assert!(matches!(layout(&[card, profile]), LayoutError::OutOfOrder { .. }));
    assert!(matches!(layout(&[profile, profile]), LayoutError::Duplicate { .. }));
    for extra in Extra::ALL {
        let large = vec![b' '; extra.bytes_max() + 1];
        assert!(matches!(layout(&[(extra, &large)]), LayoutError::SectionTooLarge { .. }));
    }
    let mut model = Vec::new();
    write_header(&mut model, "hospes:model/b", 1).expect("small").expect("written");
    let late = [sound.clone(), section(Extra::Card, b"x"), model, b"w".to_vec()].concat();
    let late = refused(late);
    assert!(matches!(late, BundleError::Layout(LayoutError::AfterExtra { .. })), "{late:?}");
}

#[test]
fn what_cannot_be_accepted_is_not_packed() {
    let refused = |origin: Origin| match packed(origin).expect_err("must be refused") {
        PackError::Extras(error) => error,
        error => panic!("{error:?}"),
    };
    let bytes = |text: &'static [u8]| Some(Bytes::from_static(text));
    for profile in
        [&b"{"[..], b"{}", br#"{"format": 2, "rows": 2000, "inputs": [], "outputs": []}"#]
    {
        let profile = Origin { profile: bytes(profile), ..Origin::default() };
        assert!(matches!(refused(profile), ExtrasError::Profile(_)));
    }
    let not_text = Origin { card: bytes(b"\xff"), ..Origin::default() };
    assert!(matches!(refused(not_text), ExtrasError::Card(_)));
    let not_signed = Origin { provenance: bytes(b"{}"), ..Origin::default() };
    assert!(matches!(refused(not_signed), ExtrasError::Provenance(_)));
    let large = Some(vec![b' '; PROFILE_BYTES_MAX + 1].into());
    let large = refused(Origin { profile: large, ..Origin::default() });
    assert!(matches!(large, ExtrasError::TooLarge { what: "profile", .. }));
    let other = Origin { provenance: Some(proof(b"other weights")), ..Origin::default() };
    let error = refused(other);
    let named = Digest::of(b"other weights");
    assert!(matches!(&error, ExtrasError::OtherModel(other) if other.named == named), "{error:?}");
}

#[test]
fn a_proof_is_about_the_model_or_what_it_was_made_from_without_another_training() {
    let step = |bundle: &[u8], model: &[u8], how| Derivation {
        bundle: (!bundle.is_empty()).then(|| Digest::of(bundle)),
        model: (!model.is_empty()).then(|| Digest::of(model)),
        how,
    };
    let from = |derived_from: Vec<Derivation>| {
        let provenance = Some(proof(b"trained"));
        packed(Origin { provenance, derived_from, ..Origin::default() })
    };
    for how in [How::Optimised, How::Converted, How::Repaired] {
        from(vec![step(b"", b"trained", how)]).expect("the same model in another form");
    }
    from(vec![
        step(b"bundle", b"half-way", How::Optimised),
        step(b"x", b"trained", How::Converted),
    ])
    .expect("two steps");
    for how in [How::FineTuned, How::Distilled] {
        let error = from(vec![step(b"", b"trained", how)]).expect_err("another training");
        assert!(matches!(error, PackError::Extras(ExtrasError::OtherModel(_))), "{error:?}");
    }
    let error = from(vec![step(b"", b"", How::Optimised)]).expect_err("from nothing");
    assert!(matches!(error, PackError::Manifest(ManifestError::FromNothing)), "{error:?}");
    let many = vec![step(b"", b"trained", How::Optimised); crate::DERIVATIONS_MAX + 1];
    assert!(matches!(from(many), Err(PackError::Manifest(ManifestError::TooMany { .. }))));
}

#[test]
fn figures_are_finite_within_their_interval_and_few() {
    let figure = |value: f64| Figure::try_from(value).expect("finite");
    let one = |low: f64, high: f64| Evaluation {
        data: "test".to_owned(),
        data_sha256: None,
        metric: "accuracy".to_owned(),
        value: figure(0.9),
        low: Some(figure(low)),
        high: Some(figure(high)),
        rows: Some(10_000),
        by: FoundBy::Evaluation,
    };
    let with = |evaluations| packed(Origin { evaluations, ..Origin::default() });
    let bytes = with(vec![one(0.89, 0.91)]).expect("sound");
    let bundle = verify(sign(&bytes, &sample::key()).expect("sound").into(), &LIMITS);
    assert_eq!(bundle.expect("sound").manifest().evaluations, [one(0.89, 0.91)]);
    for (low, high) in [(0.91, 0.92), (0.8, 0.89)] {
        let error = with(vec![one(low, high)]).expect_err("outside");
        assert!(matches!(error, PackError::Manifest(ManifestError::Interval { .. })));
    }
    let many = vec![one(0.89, 0.91); crate::EVALUATIONS_MAX + 1];
    assert!(matches!(with(many), Err(PackError::Manifest(ManifestError::TooMany { .. }))));
    let long = Evaluation { metric: "m".repeat(257), ..one(0.9, 0.9) };
    assert!(matches!(
        with(vec![long]),
        Err(PackError::Manifest(ManifestError::TextTooLong { .. }))
    ));
    let lines = Evaluation { data: "a\nb".to_owned(), ..one(0.9, 0.9) };
    let error = with(vec![lines]).expect_err("two lines");
    assert!(matches!(error, PackError::Manifest(ManifestError::ControlCharacter { .. })));
    for value in [f64::NAN, f64::INFINITY] {
        assert!(Figure::try_from(value).is_err());
    }
    assert_eq!(serde_json::to_string(&figure(-0.0)).expect("JSON"), "0.0");
}

#[test]
fn figures_of_a_report_are_about_the_model_that_is_packed() {
    let report = |model: Option<&[u8]>| {
        let test = Digest::of(b"rows");
        let metrics = format!(
            r#"{{"metrics": {{"accuracy": 0.9}}, "data": {{"test": {{"sha256": "{test}"}}}}, "recipe": {{"native": {{}}}}}}"#
        );
        let found = crate::evaluations(metrics.as_bytes()).expect("figures");
        crate::Reported { model: model.map(Digest::of), ..found }
    };
    let with = |model: Option<&[u8]>, how: Option<How>| {
        let step =
            how.map(|how| Derivation { bundle: None, model: Some(Digest::of(b"first")), how });
        let derived_from = step.into_iter().collect();
        let bytes =
            packed(Origin { reports: vec![report(model)], derived_from, ..Origin::default() });
        let signed = bytes.map(|bytes| sign(&bytes, &sample::key()).expect("sound"));
        signed
            .map(|bytes| verify(bytes.into(), &LIMITS).expect("sound").manifest().evaluations.len())
    };
    assert_eq!(with(Some(WEIGHTS), None).expect("its own"), 1);
    assert_eq!(with(None, None).expect("a function's"), 1);
    assert_eq!(with(Some(b"first"), Some(How::Repaired)).expect("the same"), 1);
    // The figures of the model before it was made smaller are not those of this one.
    assert_eq!(with(Some(b"first"), Some(How::Optimised)).expect("left out"), 0);
    let error = with(Some(b"other"), Some(How::Optimised)).expect_err("another model's");
    assert!(matches!(error, PackError::OtherModelMeasured { .. }), "{error:?}");
}
