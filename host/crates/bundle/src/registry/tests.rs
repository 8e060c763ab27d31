use super::*;
use crate::{BundleLimits, sample, verify};

fn verified(models: &[(&str, &[u8])]) -> VerifiedBundle {
    let models: Vec<_> = models.iter().map(|(name, bytes)| sample::model(name, bytes)).collect();
    verify(sample::signed(&models).into(), &BundleLimits::NONE).expect("a signed bundle")
}

fn load(registry: &Registry, digest: &Digest) -> Result<Bytes, RegistryError> {
    match registry.load(digest, &BundleLimits::NONE) {
        Ok(bundle) => Ok(bundle.bytes().clone()),
        Err(KeptError::Registry(error)) => Err(error),
        Err(KeptError::Refused(error)) => panic!("{error}"),
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

#[test]
fn what_is_kept_comes_back_byte_for_byte() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = Registry::open(&folder.path().join("deep/bundles")).expect("opened");
    for models in [
        &[][..],
        &[("a", &b"weights"[..])],
        &[("a", b"weights"), ("b", b"more"), ("c", b"weights")],
    ] {
        let bundle = verified(models);
        registry.store(&bundle).expect("kept");
        assert_eq!(load(&registry, bundle.digest()).expect("read"), *bundle.bytes());
    }
}

#[test]
fn weights_that_versions_share_are_kept_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = Registry::open(folder.path()).expect("opened");
    let (one, two) = (verified(&[("a", b"shared")]), verified(&[("b", b"shared"), ("c", b"own")]));
    for bundle in [&one, &two, &one] {
        registry.store(bundle).expect("kept");
    }
    assert_eq!(files(&folder.path().join("bundles")).len(), 2);
    let models = files(&folder.path().join("models"));
    assert_eq!(models.len(), 2);
    assert!(models.contains(&folder.path().join("models").join(Digest::of(b"shared").hex())));
    let rest = fs::read(folder.path().join("bundles").join(one.digest().hex())).expect("kept");
    assert!(!rest.windows(6).any(|bytes| bytes == b"shared"), "weights are kept apart");
}

#[test]
fn keeping_twice_writes_once_and_another_opening_sees_it() {
    use std::os::unix::fs::MetadataExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let bundle = verified(&[("a", b"weights")]);
    Registry::open(folder.path()).expect("opened").store(&bundle).expect("kept");
    let models = files(&folder.path().join("models"));
    let inode = |path: &PathBuf| fs::metadata(path).expect("there").ino();
    let before: Vec<_> = models.iter().map(inode).collect();
    let unfinished = folder.path().join("models/.tmpabc");
    fs::write(&unfinished, "cut short").expect("written");
    let again = Registry::open(folder.path()).expect("opened");
    assert!(!unfinished.exists());
    again.store(&bundle).expect("kept");
    assert_eq!(models.iter().map(inode).collect::<Vec<_>>(), before);
    assert_eq!(load(&again, bundle.digest()).expect("read"), *bundle.bytes());
}

#[test]
fn a_damaged_file_is_named_and_mended_by_keeping_the_bundle_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = Registry::open(folder.path()).expect("opened");
    let bundle = verified(&[("a", b"weights"), ("b", b"more")]);
    registry.store(&bundle).expect("kept");
    for folder in ["bundles", "models"].map(|name| folder.path().join(name)) {
        for path in files(&folder) {
            let sound = fs::read(&path).expect("kept");
            let longer = [&sound[..], b"x"].concat();
            let damages = (0..sound.len()).map(|index| {
                let mut damaged = sound.clone();
                damaged[index] ^= 1;
                damaged
            });
            for damaged in damages.chain([sound[1..].to_vec(), Vec::new(), longer]) {
                fs::write(&path, &damaged).expect("written");
                match load(&registry, bundle.digest()).expect_err("damaged") {
                    // A changed digest in the index refers to weights that do not exist.
                    RegistryError::Missing { .. } => {
                        assert!(path.starts_with(folder.with_file_name("bundles")));
                    }
                    RegistryError::Damaged { path: named } => {
                        assert!(
                            named == path || path.starts_with(folder.with_file_name("bundles"))
                        );
                    }
                    RegistryError::File { .. } => panic!("{damaged:?}"),
                }
            }
            registry.store(&bundle).expect("mended");
            assert_eq!(load(&registry, bundle.digest()).expect("read"), *bundle.bytes());
        }
    }
}

#[test]
fn the_only_bundle_that_is_kept_has_all_its_weights() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = Registry::open(folder.path()).expect("opened");
    let (one, two) = (verified(&[("a", b"shared"), ("b", b"own")]), verified(&[("c", b"shared")]));
    registry.store(&one).expect("kept");
    registry.store(&two).expect("kept");
    registry.keep_only(two.digest()).expect("removed");
    assert_eq!(load(&registry, two.digest()).expect("read"), *two.bytes());
    assert!(matches!(load(&registry, one.digest()), Err(RegistryError::Missing { .. })));
    assert_eq!(files(&folder.path().join("models")).len(), 1);
    assert!(registry.keep_only(one.digest()).is_err(), "it is not there");
    load(&registry, two.digest()).expect("nothing was removed for it");
}

#[test]
fn what_is_missing_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = Registry::open(folder.path()).expect("opened");
    let absent = load(&registry, &Digest::of(b"absent"));
    assert!(matches!(absent, Err(RegistryError::Missing { .. })));
    let bundle = verified(&[("a", b"weights")]);
    registry.store(&bundle).expect("kept");
    let weights = files(&folder.path().join("models")).remove(0);
    fs::remove_file(&weights).expect("removed");
    let refused = load(&registry, bundle.digest());
    assert!(matches!(refused, Err(RegistryError::Missing { path }) if path == weights));
}
