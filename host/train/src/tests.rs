use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use burn_tensor::Device;
use hospes_core::id::Digest;
use hospes_training::{Event, Native, Recipe, Trainer};

use crate::data::{Inputs, Picture, Rows, RowsError, Wanted};
use crate::fit::{FitError, Part, Training};
use crate::net::Net;
use crate::parts;
use crate::prepare::Preparation;
use crate::random::{Random, Use};

pub fn native(text: &str) -> Native {
    let recipe = format!("[data]\ntrain = {{ path = \"x\" }}\n[native]\n{text}");
    let recipe = Recipe::parse(&recipe, &[]).expect("valid");
    let Trainer::Native(native) = recipe.trainer() else { panic!("native") };
    native.clone()
}

/// Pictures of 8x8 pixels with a bar, upright or lying, among noise.
fn bars(count: usize) -> Rows {
    let mut random = Random::new(1, Use::Order { epoch: 0 });
    let mut pixels = Vec::new();
    let mut of = Vec::new();
    for row in 0..count {
        let (class, at) = (row % 2, random.below(8));
        for y in 0..8 {
            for x in 0..8 {
                let bar = if class == 0 { x == at } else { y == at };
                pixels.push(random.below(120) as u8 + if bar { 130 } else { 0 });
            }
        }
        of.push(class as u32);
    }
    let shape = Picture { height: 8, width: 8, channels: 1, names_channels: false };
    Rows {
        inputs: Inputs::Pictures { shape, pixels: pixels.into() },
        wanted: Wanted::Classes { of, names: vec!["upright".into(), "lying".into()] },
    }
}

struct Trained {
    weights: Result<Vec<Vec<f32>>, FitError>,
    /// What it said of a checkpoint.
    resumed: Option<String>,
    events: Vec<Event>,
}

/// Trains on the bars. `stop` ends it there, as kill would.
fn train(native: &Native, checkpoint: &Path, stop: Option<usize>) -> Option<Trained> {
    let (rows, test) = (bars(600), bars(200));
    let preparation = Preparation::of(&rows);
    let net = Net::new(native, &preparation.shape(), rows.outputs()).expect("it fits");
    let (learnt, held) = crate::split(&rows, native).expect("enough rows");
    let training = Training {
        part: Part::whole(native.epochs),
        native,
        net: &net,
        preparation: &preparation,
        answer: (1.0, 0.0),
        rows: &rows,
        learnt,
        held,
        test: Some(&test),
        teacher: None,
        device: Device::flex(),
    };
    std::fs::create_dir_all(checkpoint).expect("made");
    let (mut events, mut resumed) = (Vec::new(), None);
    let run = || {
        let mut tell = |event: &Event| {
            if Some(events.len()) == stop {
                std::panic::resume_unwind(Box::new("stopped"));
            }
            match &event.message {
                Some(message) if message.starts_with("resuming") => {
                    resumed = Some(message.clone());
                }
                _ => events.push(event.clone()),
            }
        };
        parts::train(&training, checkpoint, Digest::of(b"bars"), &mut tell)
            .map(|learnt| learnt.weights)
    };
    let weights = catch_unwind(AssertUnwindSafe(run)).ok()?;
    Some(Trained { weights, events, resumed })
}

const CNN: &str = "task = \"image\"\narchitecture = \"cnn\"\nwidths = [4, 8]\nepochs = 6\nbatch = 20\n
    augment = { shift = 1, flip = true }\noptimizer = { kind = \"adamw\", lr = 0.01, schedule = \"cosine\", warmup = 1 }\n";

#[test]
fn a_network_learns_and_a_resumed_training_ends_the_same() {
    let native = native(CNN);
    let folder = tempfile::tempdir().expect("a folder");
    let whole = train(&native, &folder.path().join("a"), None).expect("it ends");
    let weights = whole.weights.expect("trained");
    let last = &whole.events.last().expect("some").metrics;
    assert!(last["accuracy"] >= 0.95, "{last:?}");
    assert_eq!(whole.events.len(), 6);
    // At the end of the fourth epoch.
    assert!(train(&native, &folder.path().join("b"), Some(3)).is_none());
    let resumed = train(&native, &folder.path().join("b"), None).expect("it ends");
    assert_eq!(resumed.weights.expect("trained"), weights);
    assert_eq!(resumed.events, whole.events);
    assert_eq!((whole.resumed, resumed.resumed), (None, Some("resuming after epoch 4".into())));
    let other = crate::tests::native(&format!("{CNN}seed = 2\n"));
    let other = train(&other, &folder.path().join("c"), None).expect("it ends");
    assert_ne!(other.weights.expect("trained"), weights);
}

#[test]
fn early_stopping_keeps_the_best_weights_and_survives_a_stop() {
    let text = CNN.replace("epochs = 6", "epochs = 40")
        + "early_stop = { patience = 2, validation = 0.2 }\n";
    let native = native(&text);
    let folder = tempfile::tempdir().expect("a folder");
    let whole = train(&native, &folder.path().join("a"), None).expect("it ends");
    let (kept, epochs) = whole.events.split_last().expect("some");
    let losses: Vec<f64> = epochs.iter().map(|event| event.metrics["validation_loss"]).collect();
    // All figures are of one network: the one that is kept, not the last one.
    let least = losses.iter().copied().fold(f64::INFINITY, f64::min);
    let at = losses.iter().position(|loss| *loss == least).expect("one");
    assert_eq!(kept.message, Some(format!("kept epoch {}", at + 1)));
    assert_eq!((kept.epoch, &kept.metrics), (epochs[at].epoch, &epochs[at].metrics));
    let test = bars(200);
    let weights = whole.weights.as_ref().expect("trained");
    assert_eq!(accuracy(&native, weights, &test), kept.metrics["accuracy"]);
    if losses.len() < 40 {
        let best = losses.iter().copied().fold(f64::INFINITY, f64::min);
        assert!(losses[losses.len() - 2..].iter().all(|loss| *loss >= best), "{losses:?}");
        assert_eq!(losses[losses.len() - 3], best, "{losses:?}");
    }
    assert!(train(&native, &folder.path().join("b"), Some(losses.len() - 2)).is_none());
    let resumed = train(&native, &folder.path().join("b"), None).expect("it ends");
    assert_eq!(resumed.weights.expect("trained"), whole.weights.expect("trained"));
}

/// How many rows a network of these weights gets right.
fn accuracy(native: &Native, weights: &[Vec<f32>], rows: &Rows) -> f64 {
    let preparation = Preparation::of(&bars(600));
    let net = Net::new(native, &preparation.shape(), rows.outputs()).expect("it fits");
    let training = Training {
        part: Part::whole(1),
        native,
        net: &net,
        preparation: &preparation,
        answer: (1.0, 0.0),
        rows,
        learnt: Vec::new(),
        held: Vec::new(),
        test: None,
        teacher: None,
        device: Device::flex(),
    };
    let all: Vec<usize> = (0..rows.count()).collect();
    let answers = training.answers(weights, rows, &all).expect("numbers");
    let (of, _) = classes(rows);
    let right = answers.chunks(2).zip(of).filter(|(row, of)| (row[1] > row[0]) == (*of == 1));
    right.count() as f64 / rows.count() as f64
}

#[test]
fn a_pruned_network_is_narrower_and_trained_again() {
    let native = native(&format!("{CNN}prune = {{ share = 0.5, epochs = 2 }}\n"));
    let folder = tempfile::tempdir().expect("a folder");
    let whole = train(&native, &folder.path().join("a"), None).expect("it ends");
    let weights = whole.weights.expect("trained");
    let lengths: Vec<usize> = weights.iter().map(Vec::len).collect();
    // Two of 4 filters, 4 of 8, and 4 planes of 2x2 for two classes.
    assert_eq!(lengths, [2 * 9, 2, 4 * 2 * 9, 4, 16 * 2, 2]);
    let epochs: Vec<u64> = whole.events.iter().filter_map(|event| event.epoch).collect();
    assert_eq!(epochs, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(whole.events[5].metrics["unpruned_accuracy"] >= 0.95, "{:?}", whole.events[5]);
    assert!(whole.events[7].metrics["accuracy"] >= 0.9, "{:?}", whole.events[7]);
    // Stopped after the first epoch of the second part.
    assert!(train(&native, &folder.path().join("b"), Some(6)).is_none());
    let resumed = train(&native, &folder.path().join("b"), None).expect("it ends");
    assert_eq!(resumed.weights.expect("trained"), weights);
    assert_eq!(resumed.events, whole.events);
    assert_eq!(resumed.resumed.as_deref(), Some("resuming after epoch 7"));
}

#[test]
fn units_without_weight_are_removed_and_the_answers_stay() {
    let lenet = native("task = \"image\"\narchitecture = \"lenet\"\n");
    let net = Net::new(&lenet, &[1, 28, 28], 10).expect("it fits");
    let mut weights = net.first_weights(3);
    // Every second filter and unit of the hidden layers gets no weight and no bias, so that it gives 0.
    for (at, parameter) in net.parameters().iter().enumerate().take(8) {
        let units = match parameter.dims.as_slice() {
            [_, outputs] => *outputs,
            dims => dims[0],
        };
        let each = weights[at].len() / units;
        for (place, weight) in weights[at].iter_mut().enumerate() {
            let unit = if parameter.dims.len() == 2 { place % units } else { place / each };
            if unit % 2 == 1 {
                *weight = 0.0;
            }
        }
    }
    let (narrow, fewer) = net.narrowed(&weights, 0.5);
    let answers = |net: &Net, weights: &[Vec<f32>]| {
        let device = Device::flex();
        let tensors: Vec<burn_tensor::Tensor<1>> = weights
            .iter()
            .map(|numbers| burn_tensor::Tensor::from_data(numbers.as_slice(), &device))
            .collect();
        let picture = (0..784).map(|at| (at % 17) as f32 / 17.0).collect();
        let answers = net.forward(&tensors, picture, &[1, 28, 28], &device);
        answers.try_into_vec_as::<f32>().expect("numbers")
    };
    let (before, after) = (answers(&net, &weights), answers(&narrow, &fewer));
    assert!(fewer.iter().map(Vec::len).sum::<usize>() * 3 < weights.iter().map(Vec::len).sum());
    let near = |(one, other): (&f32, &f32)| (one - other).abs() < 1e-5;
    assert!(before.iter().zip(&after).all(near), "{before:?} {after:?}");
}

#[test]
fn a_learning_rate_that_is_too_high_is_named() {
    let text =
        CNN.replace("lr = 0.01", "lr = 1e30").replace("adamw", "sgd").replace(", warmup = 1", "");
    let folder = tempfile::tempdir().expect("a folder");
    let trained = train(&native(&text), &folder.path().join("a"), None).expect("it ends");
    let said = trained.weights.expect_err("diverged").to_string();
    assert!(said.contains("lower the learning rate"), "{said}");
}

#[test]
fn networks_that_do_not_fit_are_refused() {
    let lenet = native("task = \"image\"\narchitecture = \"lenet\"\n");
    assert!(Net::new(&lenet, &[1, 28, 28], 10).is_ok());
    assert!(Net::new(&lenet, &[1, 5, 5], 10).is_err());
    let cnn = native("task = \"image\"\narchitecture = \"cnn\"\nwidths = [1, 1, 1, 1, 1]\n");
    assert!(Net::new(&cnn, &[1, 28, 28], 10).is_err());
    let mlp = native("task = \"image\"\narchitecture = \"mlp\"\nwidths = [16384]\n");
    assert!(Net::new(&mlp, &[3, 4000, 4000], 10).is_err());
}

#[test]
fn one_unit_after_a_picture_is_refused_before_the_training() {
    let refused = |more: &str| {
        let native = native(&format!("task = \"image\"\narchitecture = \"mlp\"\n{more}"));
        Net::new(&native, &[1, 8, 8], 2).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert!(refused("widths = [1]").contains("use at least 2 in `widths`"));
    assert!(refused("widths = [3, 4]\nprune = { share = 0.7 }").contains("use a smaller share"));
    // Later layers may have one.
    assert_eq!(refused("widths = [3, 1]\nprune = { share = 0.5 }"), "");
    let table = native("task = \"table\"\narchitecture = \"mlp\"\ntarget = \"y\"\nwidths = [1]\n");
    assert!(Net::new(&table, &[4], 2).is_ok());
}

fn table(text: &str, more: &str) -> Result<Rows, RowsError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.csv");
    std::fs::write(&path, text).expect("written");
    let native =
        native(&format!("task = \"table\"\narchitecture = \"mlp\"\ntarget = \"y\"\n{more}"));
    Rows::read("train", &path, &native, None)
}

#[test]
fn tables_become_numbers_and_categories() {
    let rows = table("size,colour,y\n1,red,a\n2,blue,b\n3,red,a\n", "").expect("valid");
    let preparation = Preparation::of(&rows);
    assert_eq!(preparation.shape(), [3]);
    let numbers = preparation.apply(&rows, &[0, 1], None);
    // `blue` is before `red`; 1, 2, 3 have the mean 2 and the deviation 0.8165.
    assert!((numbers[0] + 1.2247).abs() < 1e-3 && numbers[3].abs() < 1e-6, "{numbers:?}");
    assert_eq!([&numbers[1..3], &numbers[4..6]], [&[0.0, 1.0], &[1.0, 0.0]]);
    let number = table("x,y\n1,0.5\n2,1.5\n", "").expect("valid");
    assert!(matches!(number.wanted, Wanted::Numbers(_)));
    assert_eq!(number.outputs(), 1);
}

fn classes(rows: &Rows) -> (Vec<u32>, Vec<String>) {
    match &rows.wanted {
        Wanted::Classes { of, names } => (of.clone(), names.clone()),
        Wanted::Numbers(numbers) => panic!("numbers: {numbers:?}"),
    }
}

#[test]
fn whole_numbers_that_do_not_begin_at_0_are_classes_without_gaps() {
    let stars = table("x,y\n1,5\n2,1\n3,10\n4,5\n", "").expect("valid");
    let names = ["1", "5", "10"].map(String::from).to_vec();
    assert_eq!(classes(&stars), (vec![1, 0, 2, 1], names.clone()));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.csv");
    std::fs::write(&path, "x,y\n1,10\n2,1\n").expect("written");
    let native = native("task = \"table\"\narchitecture = \"mlp\"\ntarget = \"y\"\n");
    let test = Rows::read("test", &path, &native, Some(&stars)).expect("of two of the classes");
    assert_eq!(classes(&test), (vec![2, 0], names));
    std::fs::write(&path, "x,y\n1,2\n").expect("written");
    let said = Rows::read("test", &path, &native, Some(&stars)).expect_err("no class").to_string();
    assert!(said.contains("class `2`") && said.contains("predict = \"number\""), "{said}");
}

#[test]
fn whole_numbers_are_numbers_or_classes_as_the_recipe_says() {
    let prices = "x,y\n1,100\n2,120\n3,90\n";
    let number = table(prices, "predict = \"number\"\n").expect("valid");
    assert!(matches!(&number.wanted, Wanted::Numbers(of) if *of == [100.0, 120.0, 90.0]));
    assert_eq!(classes(&table(prices, "").expect("valid")).1, ["90", "100", "120"]);
    let many: String = (100..130).map(|price| format!("{price},{price}\n")).collect();
    let doubted = |more: &str| {
        let native =
            native(&format!("task = \"table\"\narchitecture = \"mlp\"\ntarget = \"y\"\n{more}"));
        table(&format!("x,y\n{many}"), more).expect("valid").doubt(&native)
    };
    assert!(doubted("").expect("30 classes").contains("`y` is read as 30 classes"));
    assert_eq!(doubted("predict = \"class\"\n"), None);
    let years = "x,y\n1,2001\n2,1999\n";
    assert!(matches!(table(years, "").expect("valid").wanted, Wanted::Numbers(_)));
    let class = table(years, "predict = \"class\"\n").expect("valid");
    assert_eq!(classes(&class), (vec![1, 0], vec!["1999".into(), "2001".into()]));
    let said = table("x,y\n1,a\n2,b\n", "predict = \"number\"\n").expect_err("texts").to_string();
    assert!(said.contains("line 2, `y`: `a` is not a number"), "{said}");
}

#[test]
fn faults_of_data_are_named() {
    let said = |text: &str, more: &str| table(text, more).expect_err("refused").to_string();
    let missing = said("x,z,y\n1,2,a\n,3,b\n,4,b\n", "");
    assert!(
        missing.contains("column `x`")
            && missing.contains("has empty cells (2, the first in row 2)"),
        "{missing}"
    );
    assert!(said("x,y\n1,a\n2,a\n", "").contains("have the same class"));
    assert!(said("x,y\n1,0.5\n2,0.5\n", "").contains("have the same number"));
    assert!(said("y\na\nb\n", "").contains("column"));
    assert!(said("x,y\n1,a\n2,b\n", "ignore = [\"z\"]\n").contains("`ignore` names column `z`"));
    assert!(said("x,q\n1,a\n2,b\n", "").contains('y'));
}
