use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use hospes_confine::{Confined, Confinement};
use hospes_core::id::Digest;

use crate::native::{Architecture, Rule, Schedule};
use crate::recipe::{Recipe, RecipeError, Trainer, locked};
use crate::{Event, Job, Limits, Log, contract, dataset, events, prepare, recipe, report, run};

const DIGITS: &str = "
# Ten digits.
[data]
train = { path = \"digits/train\", licence = \"MIT\" }  # 1,500 of them
test = { path = \"digits/test\" }

[native]
task = \"image\"
architecture = \"mlp\"
optimizer = { kind = \"sgd\", lr = 0.02, momentum = 0.9, schedule = \"cosine\" }

[gate]
accuracy = 0.9
";

const SCRIPT: &str = "
[data]
train = { path = \"x.csv\" }
[command]
argv = [\"sh\", \"train.sh\"]
metrics = [{ name = \"loss\", regex = \"loss=([0-9.]+)\" }]
hyperparameters = { depth = 3, name = \"a b\" }
";

fn refused(text: &str, set: &[&str]) -> String {
    let set: Vec<String> = set.iter().map(|set| (*set).to_owned()).collect();
    Recipe::parse(text, &set).expect_err("refused").to_string()
}

#[test]
fn a_recipe_says_what_is_trained() {
    let recipe = Recipe::parse(DIGITS, &["lr=0.5".into(), "widths=[7]".into()]).expect("valid");
    let Trainer::Native(native) = recipe.trainer() else { panic!("native") };
    assert_eq!(native.architecture, Architecture::Mlp);
    assert_eq!((native.optimizer.kind, native.optimizer.schedule), (Rule::Sgd, Schedule::Cosine));
    assert_eq!((native.optimizer.lr, &native.widths[..]), (0.5, &[7][..]));
    assert_eq!((native.epochs, native.batch), (10, 64));
    let again = toml::to_string(&recipe).expect("TOML");
    assert_eq!(Recipe::parse(&again, &[]).expect("valid"), recipe);
}

#[test]
fn one_setting_of_the_optimizer_needs_no_others() {
    let optimizer = |text: &str, set: &[String]| {
        let recipe = Recipe::parse(text, set).expect("valid");
        let Trainer::Native(native) = recipe.trainer() else { panic!("native") };
        native.optimizer
    };
    let mut lines: Vec<&str> = DIGITS.lines().collect();
    lines.retain(|line| !line.starts_with("optimizer"));
    let bare = lines.join("\n");
    let set = optimizer(&bare, &["lr=0.01".into()]);
    assert_eq!((set.kind, set.lr, set.step), (Rule::Adam, 0.01, 10));
    let kind = optimizer(&format!("{bare}\n"), &["optimizer.kind=sgd".into()]);
    assert_eq!((kind.kind, kind.lr), (Rule::Sgd, 0.001));
}

#[test]
fn wrong_members_and_values_are_named() {
    let cases: [(&str, &str, &str); 16] = [
        (
            "test = { path = \"digits/test\" }",
            "test = \"digits/test\"",
            "a table: write `{ path = \"…\" }`",
        ),
        ("architecture = \"mlp\"", "architecture = \"mlp\"\nepoch = 3", "unknown field `epoch`"),
        ("\"mlp\"", "\"resnet\"", "unknown variant `resnet`"),
        ("lr = 0.02", "lr = 0", "`optimizer.lr` is 0: it must be above 0"),
        ("lr = 0.02", "lr = nan", "`optimizer.lr` is NaN"),
        ("momentum = 0.9", "momentum = 9", "`optimizer.momentum` is 9"),
        ("\"sgd\"", "\"adam\"", "only `sgd` has it"),
        ("lr = 0.02", "rate = 0.02", "unknown field `rate`"),
        ("\"mlp\"", "\"head\"\nwidths = [4]", "`head` has no hidden layer"),
        ("\"mlp\"", "\"mlp\"\nwidths = [0]", "`widths` is 0"),
        ("\"mlp\"", "\"mlp\"\ntarget = \"y\"", "pictures have no columns"),
        ("\"mlp\"", "\"mlp\"\npredict = \"number\"", "a picture is of a class"),
        ("\"image\"", "\"table\"", "name the column that is predicted"),
        ("accuracy = 0.9", "f1 = 0.9", "the gate asks for `f1`"),
        ("test =", "Test =", "`Test` cannot name a data set"),
        ("[native]", "[command]\nargv = [\"x\"]\n[native]", "both `[native]` and `[command]`"),
    ];
    for (from, to, wanted) in cases {
        let text = DIGITS.replace(from, to);
        assert_ne!(text, DIGITS, "{from}");
        let said = refused(&text, &[]);
        assert!(said.contains(wanted), "{to}: {said}");
    }
    assert!(refused("[data]\ntrain = { path = \"x\" }", &[]).contains("does not say what trains"));
    assert!(refused("[data]\n", &[]).contains("no data set `train`"));
    assert!(refused(SCRIPT, &["lr"]).contains("`--set lr`"));
    for given in ["dept=4", "command.hyperparameters.dept=4"] {
        let said = refused(SCRIPT, &[given]);
        assert!(said.contains("has no `dept`, it has `depth`, `name`"), "{said}");
    }
    assert!(refused(&SCRIPT.replace("([0-9.]+)", "[0-9.]+"), &[]).contains("it needs a group"));
    assert!(refused(&SCRIPT.replace("([0-9.]+)", "(["), &[]).contains("not usable"));
    assert!(refused(&SCRIPT.replace("\"sh\", \"train.sh\"", ""), &[]).contains("`argv` is empty"));
    assert!(refused(DIGITS, &["data.train.sha256=\"12\""]).contains("64 hexadecimal digits"));
    let untested = DIGITS.replace("test = { path = \"digits/test\" }", "");
    assert!(refused(&untested, &[]).contains("no data to measure it on"));
    let numbers = DIGITS.replace("\"image\"", "\"table\"\ntarget = \"y\"\npredict = \"number\"");
    let taught = numbers.replace("[gate]", "[native.teacher]\nmodel = \"t.onnx\"\n[gate]");
    assert!(refused(&taught, &[]).contains("a teacher teaches classes: leave it out"));
    let line = refused(&DIGITS.replace("[gate]", "[gates]"), &[]);
    assert!(line.contains("line 12"), "{line}");
}

#[test]
fn locking_keeps_what_was_written() {
    let digest = Digest::of(b"");
    let text = locked(DIGITS, &BTreeMap::from([("train".to_owned(), digest)])).expect("TOML");
    assert!(text.contains("# Ten digits.") && text.contains("# 1,500 of them"), "{text}");
    let recipe = Recipe::parse(&text, &[]).expect("valid");
    assert_eq!(recipe.data["train"].sha256, Some(digest.hex()));
    assert_eq!(recipe.data["train"].licence.as_deref(), Some("MIT"));
    assert_eq!(recipe.data["test"].sha256, None);
}

#[test]
fn a_data_set_that_changed_or_is_not_there_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["t-images", "t-labels"] {
        std::fs::write(folder.path().join(name), name).expect("written");
    }
    let read = |path: &str, sha256: Option<String>| {
        let set = recipe::DataSet { path: path.into(), sha256, licence: None };
        dataset::read("train", &set, folder.path())
    };
    let pair = read("t", None).expect("both");
    assert_eq!(pair.bytes(), 16, "both files");
    read("t", Some(pair.digest().hex())).expect("as it was");
    let said = read("t", Some(Digest::of(b"").hex())).expect_err("changed").to_string();
    assert!(said.contains("data set `train` at") && said.contains("has changed"), "{said}");
    let said = read("u", None).expect_err("not there").to_string();
    assert!(said.contains("data set `train` cannot be read"), "{said}");
}

#[test]
fn events_are_bounded_and_foreign_lines_are_no_events() {
    let event = Event::of_json(r#"{"epoch":2,"metrics":{"loss":0.5},"extra":[1]}"#).expect("one");
    assert_eq!((event.epoch, event.metrics["loss"]), (Some(2), 0.5));
    assert_eq!(Event::of_json("loss=2"), None);
    assert_eq!(Event::of_json(&" ".repeat(events::LINE_BYTES_MAX + 1)), None);
    assert_eq!(Event::of_json(r#"{"progress":7}"#).expect("one").progress, None);
    let mut all = events::Events::default();
    for at in 0..3 {
        all.push(Event {
            metrics: BTreeMap::from([("loss".into(), f64::from(at))]),
            ..Event::default()
        });
    }
    assert_eq!(all.curves()["loss"], [(1.0, 0.0), (2.0, 1.0), (3.0, 2.0)]);
    assert_eq!(all.last()["loss"], 2.0);
}

#[test]
fn figures_of_the_kept_epoch_are_the_last_ones_and_no_second_point_of_a_curve() {
    let mut all = events::Events::default();
    for (epoch, accuracy) in [(1, 0.5), (2, 0.9), (3, 0.7), (2, 0.9)] {
        let metrics = BTreeMap::from([("accuracy".to_owned(), accuracy)]);
        all.push(Event { epoch: Some(epoch), metrics, ..Event::default() });
    }
    assert_eq!(all.last()["accuracy"], 0.9);
    assert_eq!(all.curves()["accuracy"], [(1.0, 0.5), (2.0, 0.9), (3.0, 0.7)]);
}

#[test]
fn the_last_value_is_known_even_where_its_event_is_not_kept() {
    let mut all = events::Events::default();
    for at in 0..events::EVENTS_MAX + 2 {
        let metrics = BTreeMap::from([("loss".to_owned(), at as f64)]);
        all.push(Event { metrics, ..Event::default() });
    }
    assert_eq!((all.all().len(), all.dropped), (events::EVENTS_MAX, 2));
    assert_eq!(all.last()["loss"], (events::EVENTS_MAX + 1) as f64);
}

#[test]
fn a_setting_that_is_a_table_says_how_it_is_written() {
    for (given, form) in [
        ("prune=0.5", "`{ share = 0.5, epochs = 3 }`"),
        ("teacher=\"large.onnx\"", "`{ model = \"large.onnx\" }`"),
        ("early_stop=3", "`{ patience = 3 }`"),
        ("augment=true", "`{ shift = 2, flip = true }`"),
        ("optimizer=\"sgd\"", "`{ kind = \"adam\", lr = 0.01 }`"),
    ] {
        let said = refused(DIGITS, &[given]);
        assert!(said.contains(&format!("expected a table: write {form}")), "{given}: {said}");
    }
}

/// A script that is about to run under the contract in this folder.
fn job(folder: &Path) -> Job {
    let recipe = Recipe::parse(SCRIPT, &[]).expect("valid");
    let job = Job::new(&recipe, folder, folder.join("work"), 1);
    prepare::prepare(&job, true).expect("made");
    job
}

#[test]
fn what_a_trainer_leaves_is_reached_by_nobody_else() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().expect("a folder");
    let work = folder.path().join("work");
    for is_fresh in [true, false] {
        let job = job(folder.path());
        std::fs::set_permissions(&work, std::fs::Permissions::from_mode(0o755)).expect("ours");
        prepare::prepare(&job, is_fresh).expect("made");
        let mode = std::fs::metadata(&work).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}

fn program(job: &Job, script: &str) -> Confined {
    let program = Confined::new("/bin/sh", job.folder.clone()).argument("-c").argument(script);
    program.reading_system().confined(Confinement::None)
}

/// Runs a shell script under the contract.
fn shell(script: &str) -> (tempfile::TempDir, Result<run::Finished, run::RunError>, Vec<Event>) {
    let folder = tempfile::tempdir().expect("a folder");
    let (ended, told) = shell_in(folder.path(), script, &Limits::default());
    (folder, ended, told)
}

fn shell_in(
    folder: &Path,
    script: &str,
    limits: &Limits,
) -> (Result<run::Finished, run::RunError>, Vec<Event>) {
    let recipe = Recipe::parse(SCRIPT, &[]).expect("valid");
    let Trainer::Command(command) = recipe.trainer() else { panic!("a command") };
    let patterns: Vec<_> =
        command.metrics.iter().map(|text| text.compile().expect("valid")).collect();
    let job = job(folder);
    let log = Log::create(&folder.join("log"), limits.log_bytes_max).expect("made");
    let mut told = Vec::new();
    let ended = run::run(&job, program(&job, script), log, &patterns, limits, &mut |event| {
        told.push(event.clone());
    });
    (ended, told)
}

#[test]
fn a_script_gets_the_contract_and_its_words_become_events() {
    let (folder, ended, told) = shell(
        "echo loss=0.75; echo '{\"epoch\":1,\"metrics\":{\"accuracy\":0.5}}' >> $HOSPES_EVENTS
         env | grep -E '^(SM|HOSPES)_' > $SM_OUTPUT_DATA_DIR/env; printf model > $SM_MODEL_DIR/model.onnx; echo loss=0.25",
    );
    let ended = ended.expect("it ends well");
    assert_eq!(
        ended.events.last(),
        BTreeMap::from([("accuracy".into(), 0.5), ("loss".into(), 0.25)])
    );
    assert_eq!(told, ended.events.all());
    assert_eq!(ended.model, b"model");
    let env = std::fs::read_to_string(folder.path().join("work/output/env")).expect("written");
    let x = folder.path().join("x.csv");
    for wanted in [
        format!("SM_CHANNEL_TRAIN={}", x.display()),
        "SM_CHANNELS=[\"train\"]".into(),
        "SM_HP_DEPTH=3".into(),
        "SM_HP_NAME=a b".into(),
        "SM_HPS={\"depth\":3,\"name\":\"a b\"}".into(),
        "SM_NUM_CPUS=1".into(),
        "SM_NUM_GPUS=0".into(),
    ] {
        assert!(env.lines().any(|line| line == wanted), "{wanted} in\n{env}");
    }
    let passed = report::gate(
        &Recipe::parse(&format!("{SCRIPT}\n[gate]\naccuracy = 0.5"), &[]).expect("valid"),
        &ended.events,
    );
    assert_eq!(passed.expect("reached")[0].reached, 0.5);
    let missed = Recipe::parse(&format!("{SCRIPT}\n[gate]\naccuracy = 0.6"), &[]).expect("valid");
    let said = report::gate(&missed, &ended.events).expect_err("missed").to_string();
    assert!(said.contains("accuracy is 0.5000, the gate asks for 0.6000"), "{said}");
    let silent = Recipe::parse(&format!("{SCRIPT}\n[gate]\nf1 = 0.6"), &[]).expect("valid");
    let said = report::gate(&silent, &ended.events).expect_err("silent").to_string();
    assert!(said.contains("it reported `accuracy`, `loss`"), "{said}");
}

#[test]
fn a_teacher_or_pruning_that_costs_accuracy_is_refused_unless_the_gate_accepts_it() {
    const NETWORK: &str = "
[data]
train = { path = \"a\" }
test = { path = \"b\" }
[native]
task = \"image\"
architecture = \"cnn\"
";
    let said = |more: &str, figures: &[(&str, f64)]| {
        let recipe = Recipe::parse(&format!("{NETWORK}{more}"), &[]).expect("valid");
        let mut all = events::Events::default();
        let metrics = figures.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        all.push(Event { metrics, ..Event::default() });
        report::gate(&recipe, &all).map(drop).map_err(|error| error.to_string())
    };
    let teacher = "teacher = { model = \"large.onnx\" }\n";
    let prune = "prune = { share = 0.5, epochs = 1 }\n";
    let worse = [("alone_accuracy", 0.992), ("accuracy", 0.875)];
    let refused = said(teacher, &worse).expect_err("it is much worse");
    let wanted = "the teacher did not help: accuracy is 0.8750, and 0.9920 without it";
    assert!(refused.contains(wanted) && refused.contains("leave `teacher` out"), "{refused}");
    assert!(refused.contains("`accuracy = 0.87` below `[gate]`"), "{refused}");
    said(&format!("{teacher}[gate]\naccuracy = 0.87"), &worse).expect("accepted");
    // As good within a hundredth, or better.
    said(teacher, &[("alone_accuracy", 0.88), ("accuracy", 0.87)]).expect("hardly worse");
    said(teacher, &[("alone_accuracy", 0.5), ("accuracy", 0.9)]).expect("better");
    let pruned = [("unpruned_accuracy", 0.9), ("accuracy", 0.8)];
    let refused = said(prune, &pruned).expect_err("it is much worse");
    assert!(refused.contains("pruning costs too much") && refused.contains("`prune`"), "{refused}");
    // Both: what is kept is compared with each.
    let all = [("alone_accuracy", 0.99), ("unpruned_accuracy", 0.9), ("accuracy", 0.9)];
    let refused = said(&format!("{teacher}{prune}"), &all).expect_err("the teacher costs");
    assert!(refused.contains("the teacher did not help"), "{refused}");
    // Without rows for testing there is nothing to compare.
    said(teacher, &[("alone_loss", 0.1), ("loss", 0.9)]).expect("no accuracy");
}

#[test]
fn a_script_that_fails_or_leaves_no_model_says_so() {
    let said = |script: &str| shell(script).1.expect_err("it fails").to_string();
    let failed = said("echo no such column >&2; exit 3");
    assert!(failed.contains("code 3") && failed.contains("no such column"), "{failed}");
    let faulty = said("echo no such column >&2; exit 65");
    assert_eq!(faulty, "the data have faults:\n  no such column");
    let unfit = said("echo too many units; exit 78");
    assert_eq!(unfit, "the settings do not fit the data:\n  too many units");
    assert!(said("true").contains("left no model"));
    assert!(said("kill -9 $$").contains("did not end well"));
}

#[test]
fn a_link_or_a_pipe_that_a_trainer_leaves_is_not_read() {
    let said = |script: &str| shell(script).1.expect_err("it is refused").to_string();
    for script in [
        "ln -s /etc/passwd $SM_MODEL_DIR/model.onnx",
        "mkfifo $SM_MODEL_DIR/model.onnx",
        "rm -r $SM_MODEL_DIR; ln -s /etc $SM_MODEL_DIR; ",
        "rm $HOSPES_EVENTS; ln -s /etc/passwd $HOSPES_EVENTS; sleep 60",
        "rm $HOSPES_EVENTS; mkfifo $HOSPES_EVENTS; sleep 60",
    ] {
        let said = said(script);
        assert!(said.contains("is not a file, or lies behind a link"), "{script}: {said}");
    }
}

#[test]
fn a_model_that_is_too_large_is_not_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let limits = Limits { model_bytes_max: 4, ..Limits::default() };
    let (ended, _) = shell_in(folder.path(), "printf model > $SM_MODEL_DIR/model.onnx", &limits);
    let said = ended.expect_err("too large").to_string();
    assert!(said.contains("larger than the 4 bytes"), "{said}");
}

#[test]
fn a_trainer_that_would_fill_the_disk_is_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let limits = Limits { disk_free_bytes_min: u64::MAX, ..Limits::default() };
    let began = Instant::now();
    // It says nothing, so that only its disk gives it away.
    let (ended, _) = shell_in(folder.path(), "sleep 60", &limits);
    let said = ended.expect_err("ended").to_string();
    assert!(said.contains("17592186044415 MiB must stay free"), "{said}");
    assert!(said.contains("`--keep-free`"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_trainer_that_would_use_up_the_disk_s_inodes_is_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    if rustix::fs::statvfs(folder.path()).expect("a disk").f_files == 0 {
        return; // This file system makes inodes as it needs them.
    }
    let limits = Limits { disk_free_inodes_min: u64::MAX, ..Limits::default() };
    let (ended, _) = shell_in(folder.path(), "sleep 60", &limits);
    let said = ended.expect_err("ended").to_string();
    assert!(
        said.contains("18446744073709551615 must stay free") && said.contains("inodes"),
        "{said}"
    );
}

#[test]
fn a_trainer_whose_words_cannot_be_kept_is_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let job = job(folder.path());
    let full = std::fs::File::options().write(true).open("/dev/full").expect("there");
    let log = Log::of("/dev/full".as_ref(), full, 1000);
    let program = program(&job, "echo lost; sleep 60");
    let began = Instant::now();
    let ended = run::run(&job, program, log, &[], &Limits::default(), &mut |_| {});
    let said = ended.expect_err("ended").to_string();
    assert!(said.contains("its output cannot be written to `/dev/full`"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_log_ends_at_its_limit_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let limits = Limits { log_bytes_max: 10, ..Limits::default() };
    let script = "echo 123456789; echo lost; echo lost; printf x > $SM_MODEL_DIR/model.onnx";
    shell_in(folder.path(), script, &limits).0.expect("it ends well");
    let log = std::fs::read_to_string(folder.path().join("log")).expect("there");
    assert_eq!(log, "123456789\n\n[the log ends here: 10 bytes of output are kept]\n");
}

#[test]
fn what_an_earlier_run_left_is_removed_and_nothing_behind_its_links() {
    let folder = tempfile::tempdir().expect("a folder");
    let (job, models) = (job(folder.path()), folder.path().join("models"));
    std::fs::create_dir(&models).expect("made");
    std::fs::write(models.join("model.onnx"), "mine").expect("written");
    let absent = folder.path().join("absent");
    let again = |links: &dyn Fn()| {
        std::fs::write(job.checkpoints().join("epoch"), "1").expect("written");
        std::fs::write(job.output_dir().join("answers.npz"), "old").expect("written");
        links();
        prepare::prepare(&job, false).expect("made");
        assert!(!absent.exists(), "made through a link");
        assert!(models.join("model.onnx").exists(), "removed through a link");
        assert!(!job.output_dir().join("answers.npz").exists());
        assert!(!job.model().exists());
        assert_eq!(std::fs::read(job.events()).expect("there"), b"");
    };
    again(&|| {
        std::fs::write(job.model(), "old").expect("written");
        std::fs::write(job.events(), "old").expect("written");
    });
    assert!(job.checkpoints().join("epoch").exists(), "checkpoints stay");
    again(&|| {
        std::fs::remove_dir_all(job.model_dir()).expect("removed");
        symlink(&models, job.model_dir()).expect("made");
        std::fs::remove_file(job.events()).expect("removed");
        symlink(&absent, job.events()).expect("made");
        std::fs::remove_dir_all(job.checkpoints()).expect("removed");
        symlink(&models, job.checkpoints()).expect("made");
    });
    assert!(!job.checkpoints().join("model.onnx").exists(), "a link is no checkpoint");
    prepare::prepare(&job, true).expect("made");
    assert_eq!(std::fs::read_dir(job.checkpoints()).expect("there").count(), 0);
}

#[test]
fn a_recipe_s_native_settings_reach_the_trainer_whole() {
    let recipe = Recipe::parse(DIGITS, &[]).expect("valid");
    let job = contract::Job::new(&recipe, "/r".as_ref(), "/w".into(), 2);
    let variables: BTreeMap<_, _> = job.variables().into_iter().collect();
    let Trainer::Native(native) = recipe.trainer() else { panic!("native") };
    let read: crate::Native = serde_json::from_str(&variables["SM_HPS"]).expect("settings");
    assert_eq!(&read, native);
    assert!(matches!(Recipe::parse("x", &[]), Err(RecipeError::Toml(_))));
}
