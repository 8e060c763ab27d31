use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use hospes_core::tensor::DataType;
use image::{GrayImage, Luma, Rgb, RgbImage};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;

use super::*;
use crate::croissant::Croissant;
use crate::limits::{ARRAYS_MAX, FILE_BYTES_MAX};
use crate::numpy::write_npz;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(&path, bytes).expect("written");
        path
    }

    fn grey(&self, name: &str, width: u32, height: u32, value: u8) {
        let path = self.write(name, b"");
        GrayImage::from_pixel(width, height, Luma([value])).save(path).expect("a picture");
    }
}

fn whole(path: &Path) -> DataSet {
    read(path, &Options::default()).expect("a data set")
}

#[track_caller]
fn refused(path: &Path, said: &str) {
    let error = read(path, &Options::default()).expect_err(said).to_string();
    assert!(error.contains(said), "{error}");
}

#[track_caller]
fn beyond(path: &Path, bounds: Bounds, said: &str) {
    let error = within(path, &Options::default(), &bounds).expect_err(said).to_string();
    assert!(error.contains(said), "{error}");
}

fn bytes(shape: &[usize], data: &[u8]) -> Tensor {
    Tensor::new(DataType::U8, shape.to_vec(), data.to_vec().into()).expect("fits")
}

#[test]
fn arrays_in_memory_have_no_labels_and_a_limit_of_their_own() {
    let (scores, label) = (bytes(&[2, 3], &[1; 6]), bytes(&[2], &[0, 1]));
    let file = Bytes::from(write_npz([("scores", &scores), ("label", &label)]).expect("written"));
    let name = Path::new("answers.npz");
    let read = arrays(name, file.clone(), 1 << 20).expect("two arrays");
    assert_eq!(read.column("label").map(|column| &column.tensor), Some(&label));
    assert!(read.labels().is_none());
    let error = arrays(name, file, 100).expect_err("too large").to_string();
    assert!(error.contains("`answers.npz`") && error.contains("100 bytes of memory"), "{error}");
}

#[test]
fn arrays_are_columns_and_one_is_the_labels() {
    let folder = Folder::new();
    let (x, y) = (bytes(&[2, 2], &[1, 2, 3, 4]), bytes(&[2], &[1, 0]));
    let file = write_npz([("x", &x), ("y", &y), ("z", &y)]).expect("written");
    let path = folder.write("d.npz", &file);
    let set = whole(&path);
    let names: Vec<&str> = set.columns().iter().map(|column| column.name.as_str()).collect();
    assert_eq!((names.as_slice(), set.rows()), (&["x", "z"][..], 2));
    assert_eq!(set.columns()[0].tensor, x);
    assert_eq!(set.labels().and_then(Labels::classes).expect("classes").of(), [1, 0]);
    assert_eq!((set.digest(), set.sources()[0].bytes), (Digest::of(&file), file.len() as u64));
    let named =
        Options { label: Some("z".into()), labels: LabelKind::Numbers, ..Options::default() };
    let set = read(&path, &named).expect("a data set");
    assert_eq!(set.labels(), Some(&Labels::Numbers(vec![1.0, 0.0])));
    let npy = hospes_core::tensor::npy::write(&x).expect("written");
    let set = whole(&folder.write("pixels.npy", &npy));
    assert_eq!((set.columns()[0].name.as_str(), set.labels()), ("pixels", None));
}

#[test]
fn an_archive_is_not_believed() {
    let folder = Folder::new();
    refused(&folder.write("a.npz", b"PK\x03\x04 and nothing"), "`numpy.savez`");
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for at in 0..=ARRAYS_MAX {
        archive.start_file(format!("{at}.npy"), SimpleFileOptions::default()).expect("begun");
    }
    let many = archive.finish().expect("ended").into_inner();
    refused(&folder.write("b.npz", &many), "256 arrays");
    let x = bytes(&[2, 2], &[1, 2, 3, 4]);
    let mut changed = write_npz([("x", &x)]).expect("written");
    let place = changed.len() / 2;
    changed[place - 60] ^= 0xff;
    let _ = read(&folder.write("c.npz", &changed), &Options::default());
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    archive.start_file("x.npy", SimpleFileOptions::default()).expect("begun");
    archive.write_all(b"no array").expect("written");
    let broken = archive.finish().expect("ended").into_inner();
    refused(&folder.write("d.npz", &broken), "`x`: it cannot be read as NumPy's format");
    // Labels as numpy.array(["no", "yes"]) has them.
    let texts = "{'descr': '<U3', 'fortran_order': False, 'shape': (2,), }\n";
    let mut npy = b"\x93NUMPY\x01\x00".to_vec();
    npy.extend_from_slice(&u16::try_from(texts.len()).expect("short").to_le_bytes());
    npy.extend_from_slice(texts.as_bytes());
    for c in "no\0yes".chars() {
        npy.extend_from_slice(&u32::from(c).to_le_bytes());
    }
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in
        [("x.npy", hospes_core::tensor::npy::write(&x).expect("written")), ("y.npy", npy)]
    {
        archive.start_file(name, SimpleFileOptions::default()).expect("begun");
        archive.write_all(&bytes).expect("written");
    }
    let named = archive.finish().expect("ended").into_inner();
    let set = whole(&folder.write("e.npz", &named));
    let classes = set.labels().and_then(Labels::classes).expect("classes");
    assert_eq!((classes.of(), classes.names()), (&[0, 1][..], &["no".into(), "yes".into()][..]));
}

#[test]
fn what_unpacks_beyond_a_limit_is_refused_with_the_limit() {
    let folder = Folder::new();
    let usual = Bounds::USUAL;
    let x = bytes(&[1000], &[7; 1000]);
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    archive.start_file("long.npy", SimpleFileOptions::default()).expect("begun");
    let npy = hospes_core::tensor::npy::write(&x).expect("written");
    archive.write_all(&npy).expect("written");
    let packed = archive.finish().expect("ended").into_inner();
    assert!(packed.len() < 500, "it is compressed");
    let path = folder.write("a.npz", &packed);
    whole(&path);
    beyond(&path, Bounds { data_bytes: 500, ..usual }, "more than the 500 bytes of memory");
    beyond(&path, Bounds { name_bytes: 3, ..usual }, "a name has 4 bytes, more than the 3");
    let labelled = write_npz([("x", &x), ("y", &x)]).expect("written");
    let path = folder.write("b.npz", &labelled);
    beyond(&path, Bounds { rows: 999, ..usual }, "`y`: it has more than the 999 rows allowed");
    beyond(&path, Bounds { file_bytes: 9, ..usual }, "more than the 9 allowed");
    let head = [0, 0, 8, 3, 0, 0, 0, 100, 0, 0, 0, 10, 0, 0, 0, 10];
    let mut gz = GzEncoder::new(Vec::new(), Compression::default());
    gz.write_all(&[&head[..], &[0; 10_000]].concat()).expect("packed");
    folder.write("t-images-idx3-ubyte", &gz.finish().expect("packed"));
    let labels = [&[0, 0, 8, 1, 0, 0, 0, 100][..], &[1; 100]].concat();
    folder.write("t-labels-idx1-ubyte", &labels);
    let path = folder.path("t");
    whole(&path);
    beyond(&path, Bounds { data_bytes: 5_000, ..usual }, "more than the 5000 bytes of memory");
    beyond(&path, Bounds { rows: 99, ..usual }, "`labels`: it has more than the 99 rows");
}

#[test]
fn pictures_beyond_a_limit_are_refused_with_the_limit() {
    let folder = Folder::new();
    for name in ["cat/1.png", "cat/2.png", "dog/1.png"] {
        folder.grey(name, 4, 4, 9);
    }
    let (path, usual) = (folder.path(""), Bounds::USUAL);
    whole(&path);
    beyond(&path, Bounds { pictures: 2, ..usual }, "more than the 2 pictures allowed");
    beyond(&path, Bounds { pictures: 1, ..usual }, "more than the 1 files allowed");
    beyond(&path, Bounds { data_bytes: 40, ..usual }, "more than the 40 bytes of memory allowed");
}

#[test]
fn pairs_of_idx_files_are_found_and_unpacked() {
    let folder = Folder::new();
    let images = [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2][..], &[1, 2, 3, 4]].concat();
    let labels = [0, 0, 8, 1, 0, 0, 0, 2, 5, 0];
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(&images).expect("packed");
    let packed = packed.finish().expect("packed");
    let path = folder.write("train-images-idx3-ubyte.gz", &packed);
    refused(&path, "expected `train-labels-idx1-ubyte`");
    folder.write("train-labels-idx1-ubyte", &labels);
    for path in
        [path, folder.path("train"), folder.path(""), folder.path("train-labels-idx1-ubyte")]
    {
        let set = whole(&path);
        assert_eq!((set.rows(), set.columns()[0].row_shape()), (2, &[1, 2][..]));
        assert_eq!(set.labels().and_then(Labels::classes).expect("classes").of(), [5, 0]);
        assert_eq!(set.sources().len(), 2);
    }
    folder.write("t10k-images-idx3-ubyte", &images);
    folder.write("t10k-labels-idx1-ubyte", &[0, 0, 8, 1, 0, 0, 0, 1, 5]);
    refused(&folder.path(""), "2 files with pictures: name one, such as");
    refused(&folder.path("t10k"), "it has 1 rows, and `image` has 2");
    folder.write("t10k-images-idx3-ubyte", &packed[..packed.len() - 6]);
    refused(&folder.path("t10k"), "cannot be decompressed");
    folder.write("t10k-images-idx3-ubyte", &images[..19]);
    refused(&folder.path("t10k"), "need 4 bytes, and it has 3");
}

#[test]
fn a_subfolder_is_a_class() {
    let folder = Folder::new();
    folder.grey("dog/2.png", 3, 2, 7);
    folder.grey("cat/1.png", 3, 2, 9);
    folder.write("cat/.DS_Store", b"");
    folder.write("cat/Thumbs.db", b"");
    let set = whole(&folder.path(""));
    assert_eq!(set.columns()[0].tensor.shape(), [2, 2, 3, 1]);
    assert_eq!(set.columns()[0].tensor.data()[..6], [9; 6]);
    let classes = set.labels().and_then(Labels::classes).expect("classes").clone();
    assert_eq!((classes.of(), classes.names()), (&[0, 1][..], &["cat".into(), "dog".into()][..]));
    assert_eq!(set.sources()[0].name, "cat/1.png");
    let rgb = RgbImage::from_pixel(6, 4, Rgb([200, 10, 10]));
    rgb.save(folder.path("dog/3.jpg")).expect("a picture");
    refused(&folder.path(""), "dog/3.jpg`: the picture is 6 x 4 pixels, and the first is 3 x 2");
    let pictures = PictureOptions { size: Some((3, 2)), channels: Some(3) };
    let scaled = read(&folder.path(""), &Options { pictures, ..Options::default() });
    let scaled = scaled.expect("scaled");
    assert_eq!(scaled.columns()[0].tensor.shape(), [3, 2, 3, 3]);
    let red = &scaled.columns()[0].tensor.data()[36..39];
    assert!(red[0] > 190 && red[1] < 25 && red[2] < 25, "{red:?}");
}

#[test]
fn every_fault_of_a_folder_is_named() {
    let folder = Folder::new();
    folder.grey("cat/1.png", 3, 2, 9);
    refused(&folder.path(""), "give at least 2");
    folder.grey("dog/1.png", 3, 2, 9);
    folder.write("dog/notes.txt", b"");
    refused(&folder.path(""), "dog/notes.txt`: it is not a PNG or JPEG");
    std::fs::remove_file(folder.path("dog/notes.txt")).expect("removed");
    folder.write("dog/2.png", b"\x89PNG and nothing");
    folder.write("dog/3.jpg", b"nothing");
    refused(&folder.path(""), "dog/2.png`: the picture cannot be read");
    refused(&folder.path(""), "dog/3.jpg`: the picture cannot be read");
    // A header that claims more pixels than a picture may have.
    let mut huge = std::fs::read(folder.path("dog/1.png")).expect("readable");
    huge[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
    folder.write("dog/2.png", &huge);
    refused(&folder.path(""), "dog/2.png`: the picture cannot be read");
}

#[test]
fn other_files_and_large_ones_are_refused() {
    let folder = Folder::new();
    refused(&folder.path("none.csv"), "cannot read");
    refused(&folder.path("none"), "cannot read");
    refused(&folder.write("a.xlsx", b"PK"), "is in no format that is read here");
    refused(&folder.path(""), "give at least 2");
    let path = folder.write("a.csv", b"a\n1\n");
    let error = file_bytes(&path, 3).expect_err("four bytes").to_string();
    assert!(error.contains("it has 4 bytes, more than the 3 allowed"), "{error}");
    // A file of more than the limit that takes no room on disk.
    let sparse = folder.path("b.csv");
    let file = File::create(&sparse).expect("made");
    file.set_len(FILE_BYTES_MAX + 1).expect("sparse");
    refused(&sparse, "more than the 4294967296 allowed");
}

#[test]
fn a_description_beside_the_data_is_read_and_checked() {
    let folder = Folder::new();
    let path = folder.write("d.csv", b"a,y\n1,0\n");
    assert_eq!(Croissant::beside(&path).expect("none"), None);
    let of = |digest: &str| {
        format!(
            r#"{{"name": "flowers", "license": ["CC0-1.0"], "version": 1, "other": {{}}, "distribution": [
                {{"name": "d", "contentUrl": "https://example.org/d.csv", "sha256": "{digest}"}}, {{"name": "no digest"}}]}}"#
        )
    };
    let set = whole(&path);
    folder.write("croissant.json", of(&set.digest().hex().to_uppercase()).as_bytes());
    let described = Croissant::beside(&path).expect("readable").expect("there");
    assert_eq!(described.licence.as_deref(), Some("CC0-1.0"));
    described.check(&set).expect("the same bytes");
    folder.write("croissant.json", of(&"0".repeat(64)).as_bytes());
    let described = Croissant::beside(&path).expect("readable").expect("there");
    let error = described.check(&set).expect_err("other bytes").to_string();
    assert!(error.contains("`croissant.json` beside it says `000"), "{error}");
    folder.write("croissant.json", b"{");
    Croissant::beside(&path).expect_err("no JSON");
}
