//! `hospes train`: by Hospes' own trainer and by scripts, its faults, interruptions and confinement. `target/debug/hospes-train` is built by
//! `make trainer`.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use hospes::data::write_npz;
use hospes::tensor::{DataType, Tensor};
use serde_json::Value;
use system_tests::{HostProcess, built, simple, workspace};
use tempfile::TempDir;

/// Runs `hospes train` in a folder. ONNX Runtime is where the tests' is.
pub(super) fn train(folder: &Path, arguments: &[&str]) -> Output {
    HostProcess::command()
        .args(["--json", "train"])
        .args(arguments)
        .args([Path::new("--host-data"), &built("runtime")])
        // Of several keys of whoever runs the tests none would be chosen.
        .env("HOSPES_HOME", folder.join("home"))
        .current_dir(folder)
        .output()
        .expect("it runs")
}

#[track_caller]
pub(super) fn report(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    answer["report"].clone()
}

#[track_caller]
pub(super) fn refused(output: &Output, wanted: &str) {
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    );
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(wanted), "{wanted} is not in: {said}");
}

/// Both backends answer as the trainer did.
#[track_caller]
pub(super) fn agree(report: &Value) {
    agree_on(report, &["onnxruntime", "tract"]);
}

/// These backends compute it, and answer as the trainer did.
#[track_caller]
fn agree_on(report: &Value, wanted: &[&str]) {
    let compared = report["backends"].as_array().expect("compared");
    let backends: Vec<&str> =
        compared.iter().filter_map(|found| found["backend"].as_str()).collect();
    assert_eq!(backends, wanted);
    assert!(
        compared.iter().all(|found| found["difference"].as_f64().expect("a number") <= 1e-5),
        "{compared:?}"
    );
}

pub(super) fn write(path: &Path, text: impl AsRef<[u8]>) {
    std::fs::File::create(path)
        .and_then(|mut file| file.write_all(text.as_ref()))
        .expect("written");
}

/// The lines of the iris data of scikit-learn, every fifth for testing.
fn iris(folder: &Path) {
    let packages = built("oracle/lib");
    let python =
        std::fs::read_dir(packages).expect("there").next().expect("one").expect("readable").path();
    let text = std::fs::read_to_string(python.join("site-packages/sklearn/datasets/data/iris.csv"))
        .expect("there");
    let names = ["setosa", "versicolor", "virginica"];
    let mut parts = ["train", "test"]
        .map(|_| "sepal_length,sepal_width,petal_length,petal_width,species\n".to_owned());
    for (row, line) in text.lines().skip(1).enumerate() {
        let (numbers, class) = line.rsplit_once(',').expect("columns");
        let class: usize = class.parse().expect("a class");
        parts[usize::from(row % 5 == 0)] += &format!("{numbers},{}\n", names[class]);
    }
    write(&folder.join("iris.csv"), &parts[0]);
    write(&folder.join("iris-test.csv"), &parts[1]);
}

/// A folder with an example of `host/templates/train`, with these words replaced.
fn example(recipe: &str, replaced: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(workspace().join("host/templates/train")).expect("there") {
        let path = entry.expect("readable").path();
        let name = path.file_name().expect("a name").to_owned();
        let mut text = std::fs::read_to_string(&path).expect("text");
        if name == recipe {
            for (from, to) in replaced {
                assert!(text.contains(from), "{from}");
                text = text.replace(from, to);
            }
        }
        write(&folder.path().join(name), text);
    }
    iris(folder.path());
    folder
}

/// Fashion-MNIST, as the example's recipe names it.
fn fashion(replaced: &[(&str, &str)]) -> TempDir {
    let folder = example("fashion.toml", replaced);
    let place = folder.path().join("fashion/usr/share/datasets/fashion-mnist");
    std::fs::create_dir_all(&place).expect("made");
    for entry in std::fs::read_dir(built("samples/fashion")).expect("`make downloads`") {
        let path = entry.expect("readable").path();
        let name = path.file_name().expect("a name").to_owned();
        // Names of the same files, where the file system can.
        std::fs::hard_link(&path, place.join(&name))
            .or_else(|_| std::fs::copy(&path, place.join(name)).map(drop))
            .expect("there");
    }
    folder
}

#[test]
fn the_paper_s_net_learns_clothing() {
    let folder = fashion(&[("epochs = 10", "epochs = 1"), ("accuracy = 0.89", "accuracy = 0.82")]);
    let output = train(folder.path(), &["fashion.toml", "--threads", "1"]);
    let report = report(&output);
    agree(&report);
    assert_eq!(report["backends"][0]["rows"], 64);
    assert_eq!(report["confined"], true);
    assert!(report["metrics"]["accuracy"].as_f64().expect("a number") >= 0.82, "{report}");
    let out = folder.path().join("fashion");
    for file in ["model.onnx", "report.json", "events.jsonl", "curves.svg", "log.txt"] {
        assert!(out.join(file).is_file(), "{file}");
    }
    // The model takes pictures as they are in the file.
    let again = train(folder.path(), &["fashion.toml"]);
    refused(&again, "--force");
}

/// Small pictures in IDX: bars, upright or lying.
pub(super) fn bars(folder: &Path, name: &str, count: usize) {
    let mut images = vec![0, 0, 8, 3];
    [count, 8, 8].iter().for_each(|size| images.extend((*size as u32).to_be_bytes()));
    let mut labels = vec![0, 0, 8, 1];
    labels.extend((count as u32).to_be_bytes());
    let mut state = 7_u32;
    for row in 0..count {
        let at = row / 2 % 8;
        for pixel in 0..64 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (y, x) = (pixel / 8, pixel % 8);
            let bar = if row % 2 == 0 { x == at } else { y == at };
            images.push((state >> 25) as u8 + if bar { 120 } else { 0 });
        }
        labels.push((row % 2) as u8);
    }
    write(&folder.join(format!("{name}-images-idx3-ubyte")), images);
    write(&folder.join(format!("{name}-labels-idx1-ubyte")), labels);
}

fn bars_recipe(epochs: u32) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    bars(folder.path(), "a", 2000);
    bars(folder.path(), "b", 200);
    let recipe = format!(
        "[data]\ntrain = {{ path = \"a\" }}\ntest = {{ path = \"b\" }}\n[native]\ntask = \"image\"\narchitecture = \"cnn\"\n\
         widths = [4, 8]\nepochs = {epochs}\nbatch = 16\noptimizer = {{ kind = \"sgd\", lr = 0.02, momentum = 0.9 }}\n\
         augment = {{ flip = true }}\n[gate]\naccuracy = 0.9\n"
    );
    write(&folder.path().join("bars.toml"), recipe);
    folder
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_so_does_a_resumed_training() {
    let folder = bars_recipe(5);
    let made = |out: &str| std::fs::read(folder.path().join(out).join("model.onnx")).expect("made");
    let one = report(&train(folder.path(), &["bars.toml", "--threads", "1", "--out", "one"]));
    agree(&one);
    report(&train(folder.path(), &["bars.toml", "--threads", "1", "--out", "two", "--seed", "0"]));
    report(&train(
        folder.path(),
        &["bars.toml", "--threads", "1", "--out", "other", "--seed", "9"],
    ));
    assert_eq!(made("one"), made("two"));
    assert_ne!(made("one"), made("other"));

    let mut command = HostProcess::command();
    command
        .args(["train", "bars.toml", "--threads", "1", "--out", "cut"])
        .current_dir(folder.path());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    let events = folder.path().join("cut/work/events");
    let until = Instant::now() + Duration::from_secs(120);
    // An epoch is done, and the next has begun.
    while !std::fs::read_to_string(&events).unwrap_or_default().contains("\"epoch\":1") {
        assert!(Instant::now() < until, "no epoch has ended");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
    assert!(!folder.path().join("cut/model.onnx").exists());
    assert!(folder.path().join("cut/work/checkpoints/epoch").is_file());
    report(&train(folder.path(), &["bars.toml", "--threads", "1", "--out", "cut", "--resume"]));
    assert_eq!(made("cut"), made("one"));
    let events = |out: &str| {
        std::fs::read_to_string(folder.path().join(out).join("events.jsonl")).expect("made")
    };
    let epochs = |text: String| {
        text.lines()
            .filter(|line| line.contains("\"epoch\""))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(epochs(events("cut")), epochs(events("one")));

    // Another training's checkpoint is not taken.
    let output = train(
        folder.path(),
        &["bars.toml", "--out", "cut", "--resume", "--force", "--set", "lr=0.5"],
    );
    refused(&output, "of other settings or other data");
}

#[test]
fn a_table_s_model_takes_rows_as_they_are() {
    let folder = example("table.toml", &[]);
    let report = report(&train(folder.path(), &["table.toml"]));
    agree(&report);
    assert!(report["metrics"]["accuracy"].as_f64().expect("a number") >= 0.9, "{report}");
    // A number instead of a class, and a column of texts.
    let recipe = std::fs::read_to_string(folder.path().join("table.toml")).expect("there");
    let recipe = recipe
        .replace("target = \"species\"", "target = \"petal_width\"")
        .replace("accuracy = 0.9", "r2 = 0.8");
    write(&folder.path().join("width.toml"), recipe);
    let report = self::report(&train(folder.path(), &["width.toml"]));
    agree(&report);
    assert!(report["metrics"]["r2"].as_f64().expect("a number") >= 0.8, "{report}");
}

#[test]
fn faults_are_named_before_anything_is_trained() {
    let folder = example("table.toml", &[]);
    let data = std::fs::read_to_string(folder.path().join("iris.csv")).expect("there");
    write(&folder.path().join("iris.csv"), data.replacen("5.0,3.6,1.4,0.2", "5.0,,1.4,0.2", 1));
    let output = train(folder.path(), &["table.toml"]);
    refused(&output, "sepal_width");
    refused(&output, "the data have faults");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("training") && !said.contains("did not end well"), "{said}");
    write(&folder.path().join("iris.csv"), data.replacen("5.0,3.6,1.4,0.2", "5.0,1.4,0.2", 1));
    refused(&train(folder.path(), &["table.toml"]), "iris.csv");
    write(&folder.path().join("iris.csv"), &data);
    refused(&train(folder.path(), &["table.toml", "--set", "epoch=3"]), "unknown field `epoch`");
    refused(&train(folder.path(), &["table.toml", "--set", "target=name"]), "name");
    refused(
        &train(folder.path(), &["table.toml", "--set", "gate.accuracy=1.1"]),
        "the gate asks for 1.1000",
    );
    assert!(!folder.path().join("table/model.onnx").exists());
    assert!(folder.path().join("table/events.jsonl").is_file());

    report_locked(folder.path());
    write(&folder.path().join("iris.csv"), data + "5.0,3.6,1.4,0.2,setosa\n");
    refused(&train(folder.path(), &["table.toml", "--force"]), "data set `train` at");
}

#[track_caller]
fn report_locked(folder: &Path) {
    let locked = train(folder, &["table.toml", "--lock"]);
    assert!(locked.status.success(), "{}", String::from_utf8_lossy(&locked.stderr));
    let recipe = std::fs::read_to_string(folder.join("table.toml")).expect("there");
    assert_eq!(recipe.matches("sha256 = ").count(), 2, "{recipe}");
    assert!(recipe.starts_with("# A class from a table"), "{recipe}");
}

/// The oracle's Python as the examples name one of a virtual environment.
fn python() -> (String, String) {
    let oracle = built("oracle");
    (oracle.join("bin/python").display().to_string(), oracle.display().to_string())
}

#[test]
fn a_script_of_scikit_learn_trains_under_the_contract() {
    let (python, environment) = python();
    let folder = example(
        "sklearn.toml",
        &[
            ("\".venv/bin/python\"", &format!("\"{python}\"")),
            ("\".venv\"", &format!("\"{environment}\"")),
        ],
    );
    let report = report(&train(folder.path(), &["sklearn.toml", "--seed", "5"]));
    // `tract` has no trees as scikit-learn exports them.
    agree_on(&report, &["onnxruntime"]);
    assert_eq!(report["confined"], true);
    assert_eq!(report["recipe"]["command"]["hyperparameters"]["seed"], 5);
    assert!(report["metrics"]["accuracy"].as_f64().expect("a number") >= 0.9, "{report}");
}

/// Whether this machine's Python has PyTorch, as Debian packages it. Says that a test is skipped if it has not.
pub(crate) fn has_pytorch() -> bool {
    let tried = std::process::Command::new("/usr/bin/python3")
        .args(["-c", "import torch, numpy"])
        .stderr(Stdio::null())
        .status();
    let has = tried.is_ok_and(|status| status.success());
    if !has {
        let _ = writeln!(
            std::io::stderr(),
            "skipped: /usr/bin/python3 has no PyTorch (Debian: python3-torch)"
        );
    }
    has
}

#[test]
fn a_script_of_pytorch_trains_under_the_contract() {
    if !has_pytorch() {
        return;
    }
    let folder = fashion(&[]);
    let report = report(&train(folder.path(), &["pytorch.toml", "--threads", "1"]));
    agree(&report);
    assert!(report["metrics"]["accuracy"].as_f64().expect("a number") >= 0.8, "{report}");
}

#[test]
fn a_file_of_answers_without_any_answer_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder.path().join("trained.onnx"), simple());
    let row = Tensor::new(DataType::I32, vec![1, 16], vec![7; 64].into()).expect("fits");
    let inputs = write_npz([("INPUT0", &row), ("INPUT1", &row)]).expect("written");
    write(&folder.path().join("rows.npz"), inputs);
    write(&folder.path().join("data.csv"), "x,y\n1,a\n");
    let script = "import os, shutil, sys\n\
        shutil.copy(sys.argv[1], os.environ['SM_MODEL_DIR'] + '/model.onnx')\n\
        shutil.copy(sys.argv[2], os.environ['SM_OUTPUT_DATA_DIR'] + '/answers.npz')\n";
    write(&folder.path().join("copy.py"), script);
    let recipe = "[data]\ntrain = { path = \"data.csv\" }\n[command]\n\
        argv = [\"python3\", \"copy.py\", \"trained.onnx\", \"rows.npz\"]\n";
    write(&folder.path().join("copy.toml"), recipe);
    let output = train(folder.path(), &["copy.toml"]);
    refused(&output, "`answers.npz` has no answers");
    assert!(!folder.path().join("copy/model.onnx").exists());
}

#[test]
fn a_confined_script_reaches_nothing_but_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("set");
    let port = listener.local_addr().expect("bound").port();
    let secret = folder.path().join("secret");
    write(&secret, "the planted secret");
    write(&folder.path().join("data.csv"), "x,y\n1,a\n");
    let outside: PathBuf = folder.path().join("outside");
    let script = format!(
        "import os, socket\nfound = []\n\
         def attempt(what, do):\n    try:\n        do(); found.append(what)\n    except OSError: pass\n\
         attempt('read', lambda: open({secret:?}).read())\n\
         attempt('wrote', lambda: open({outside:?}, 'w').write('x'))\n\
         attempt('appended', lambda: open(os.environ['SM_CHANNEL_TRAIN'], 'a').write('x'))\n\
         attempt('connected', lambda: socket.create_connection(('127.0.0.1', {port}), 2))\n\
         attempt('own', lambda: open(os.environ['SM_CHANNEL_TRAIN']).read())\n\
         print('reached:', ' '.join(found), os.environ.get('PLANTED', 'unset'))\n\
         open(os.environ['SM_MODEL_DIR'] + '/model.onnx', 'wb').write(b'no model')\n"
    );
    write(&folder.path().join("hostile.py"), script);
    let recipe = "[data]\ntrain = { path = \"data.csv\" }\n[command]\nargv = [\"python3\", \"hostile.py\"]\n";
    write(&folder.path().join("hostile.toml"), recipe);
    let run = |more: &[&str]| {
        let mut command = HostProcess::command();
        command.args(["train", "hostile.toml", "--force"]).args(more).env("PLANTED", "planted");
        let output = command.current_dir(folder.path()).output().expect("it runs");
        let log =
            std::fs::read_to_string(folder.path().join("hostile/log.txt")).unwrap_or_default();
        (output, log)
    };
    let (output, log) = run(&[]);
    assert_eq!(log, "reached: own unset\n", "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!outside.exists());
    assert!(listener.accept().is_err(), "nothing may connect");
    // The same script, trusted, reaches it all: the test would see it.
    let (_, log) = run(&["--unconfined"]);
    assert_eq!(log, "reached: read wrote appended connected own unset\n");
}

/// A recipe whose script is this.
fn script(code: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder.path().join("data.csv"), "x,y\n1,a\n");
    write(&folder.path().join("train.sh"), code);
    let recipe =
        "[data]\ntrain = { path = \"data.csv\" }\n[command]\nargv = [\"sh\", \"train.sh\"]\n";
    write(&folder.path().join("recipe.toml"), recipe);
    folder
}

#[test]
fn a_failed_training_leaves_nothing_of_an_earlier_one() {
    let folder = script("exit 3");
    let out = folder.path().join("recipe");
    std::fs::create_dir(&out).expect("made");
    let earlier = ["model.onnx", "report.json", "events.jsonl", "curves.svg", "provenance.dsse"];
    earlier.iter().for_each(|name| write(&out.join(name), "of an earlier training"));
    refused(&train(folder.path(), &["recipe.toml"]), "--force");
    assert!(earlier.iter().all(|name| out.join(name).exists()), "a refusal removes nothing");
    refused(&train(folder.path(), &["recipe.toml", "--force"]), "code 3");
    for name in earlier {
        assert!(!out.join(name).exists(), "{name} is of an earlier training");
    }
}

#[test]
fn a_training_ends_before_the_disk_is_full() {
    let folder = script("sleep 60");
    let began = Instant::now();
    let most = (u64::MAX >> 20).to_string();
    refused(&train(folder.path(), &["recipe.toml", "--keep-free", &most]), "MiB must stay free");
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[test]
fn answers_behind_a_link_are_not_read() {
    let folder = script(
        "echo > $SM_MODEL_DIR/model.onnx; ln -s /etc/passwd $SM_OUTPUT_DATA_DIR/answers.npz",
    );
    refused(&train(folder.path(), &["recipe.toml"]), "lies behind a link");
}

#[test]
fn a_model_that_answers_otherwise_than_its_trainer_is_not_kept() {
    let folder =
        script("cp \"$1\" $SM_MODEL_DIR/model.onnx; cp \"$2\" $SM_OUTPUT_DATA_DIR/answers.npz");
    write(&folder.path().join("made.onnx"), simple());
    let numbers = |number: i32| {
        let bytes: Vec<u8> = number.to_le_bytes().repeat(16);
        Tensor::new(DataType::I32, vec![1, 16], bytes.into()).expect("fits")
    };
    let (seven, sum) = (numbers(7), numbers(14));
    for (name, difference) in [("false.npz", numbers(1)), ("true.npz", numbers(0))] {
        let inputs = [("INPUT0", &seven), ("INPUT1", &seven)];
        let outputs = [("OUTPUT0", &sum), ("OUTPUT1", &difference)];
        let file = write_npz(inputs.into_iter().chain(outputs)).expect("written");
        write(&folder.path().join(name), file);
    }
    write(&folder.path().join("data.csv"), "x,y\n1,a\n");
    for (answers, is_kept) in [("false.npz", false), ("true.npz", true)] {
        let recipe = format!(
            "[data]\ntrain = {{ path = \"data.csv\" }}\n[command]\nargv = [\"sh\", \"train.sh\", \"made.onnx\", \"{answers}\"]\n"
        );
        write(&folder.path().join("recipe.toml"), recipe);
        let output = train(folder.path(), &["recipe.toml", "--force"]);
        assert_eq!(folder.path().join("recipe/model.onnx").exists(), is_kept, "{output:?}");
        match is_kept {
            true => agree(&report(&output)),
            false => refused(&output, "answers otherwise than the trainer"),
        }
    }
}

#[test]
fn a_machine_without_namespaces_refuses_to_train_and_keeps_an_earlier_model() {
    let folder = script("echo > $SM_MODEL_DIR/model.onnx");
    std::fs::create_dir(folder.path().join("recipe")).expect("made");
    write(&folder.path().join("recipe/model.onnx"), "an earlier one");
    // In a namespace that may have no others.
    let none = "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$@\"";
    let mut command = std::process::Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", none, "sh"]);
    let hospes = HostProcess::command();
    command.arg(hospes.get_program());
    command.args(["train", "recipe.toml", "--force"]).current_dir(folder.path());
    let output = command.env("HOSPES_HOME", folder.path()).output().expect("it runs");
    refused(&output, "pass `--unconfined` if you trust the program as yourself");
    let kept = std::fs::read_to_string(folder.path().join("recipe/model.onnx")).expect("there");
    assert_eq!(kept, "an earlier one");
}

/// A script that leaves a model which was there before, and says nothing of its data. `first` is what it does before.
pub(super) fn copying(first: &str) -> TempDir {
    let folder = script(&format!("{first}\ncp \"$1\" $SM_MODEL_DIR/model.onnx\n"));
    write(&folder.path().join("made.onnx"), simple());
    write(&folder.path().join("other.py"), "pass\n");
    bars(folder.path(), "pair", 20);
    let recipe = "[data]\ntrain = { path = \"pair\" }\n[command]\n\
        argv = [\"sh\", \"train.sh\", \"made.onnx\", \"other.py\", \"recipe.toml\"]\n";
    write(&folder.path().join("recipe.toml"), recipe);
    folder
}

/// A command of somebody who has a key in this folder.
fn with_key(folder: &Path, arguments: &[&str]) -> Output {
    let home = folder.join("home");
    let mut command = HostProcess::command();
    command.arg("--json").args(arguments).env("HOSPES_HOME", &home).current_dir(folder);
    if !home.exists() {
        let mut keys = HostProcess::command();
        keys.args(["keys", "new", "acme"]).env("HOSPES_HOME", &home);
        assert!(keys.output().expect("it runs").status.success());
    }
    command.env("HOSPES_DATA", built("runtime")).output().expect("it runs")
}

#[test]
fn a_proof_names_the_program_and_a_pair_of_files_can_be_compared() {
    let folder = copying("");
    report(&with_key(folder.path(), &["train", "recipe.toml"]));
    let proof = "recipe/provenance.dsse";
    let pack = ["pack", "recipe/model.onnx", "--name", "bars", "--provenance", proof];
    let packed = with_key(folder.path(), &[&pack[..], &["-o", "bars.wasm"]].concat());
    assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
    // Hospes knows its own version, not the script's.
    let shown = with_key(folder.path(), &["inspect", "bars.wasm"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!(shown["extras"]["provenance"]["trainer"]["name"], "hospes", "{shown}");
    let verify = || -> (Vec<(String, String)>, String) {
        let places = ["--data", ".", "--code", ".", "--recipe", "recipe.toml"];
        let said =
            with_key(folder.path(), &[&["verify-lineage", "bars.wasm"][..], &places].concat());
        let said: Value = serde_json::from_slice(&said.stdout).expect("JSON");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let checks = said["checks"].as_array().expect("a list").iter();
        let checks = checks.map(|check| (text(&check["what"]), text(&check["result"])));
        (checks.collect(), said.to_string())
    };
    let (checks, said) = verify();
    let result = |checks: &[(String, String)], what: &str| {
        let found = checks.iter().find(|(name, _)| name == what);
        found.map(|(_, result)| result.clone()).unwrap_or_default()
    };
    for what in ["data train", "recipe", "code train.sh", "code made.onnx", "code other.py"] {
        assert_eq!(result(&checks, what), "ok", "{what}: {said}");
    }
    // The system's shell is not in this folder, but its digest is in the proof.
    assert_eq!(result(&checks, "code sh"), "not-checked", "{said}");
    bars(folder.path(), "pair", 21);
    let (checks, said) = verify();
    assert_eq!(result(&checks, "data train"), "changed", "{said}");
    assert!(said.contains("pair-labels-idx1-ubyte"), "{said}");
}

#[test]
fn what_changes_while_it_is_trained_with_costs_the_model() {
    for (change, named) in [
        ("echo >> $2", "the code `other.py` changed during the training"),
        ("echo >> $3", "the recipe `recipe.toml` changed during the training"),
        (
            "echo >> $SM_CHANNEL_TRAIN-labels-idx1-ubyte",
            "data set `train` at `pair` changed during the training",
        ),
        ("rm $2", "the code `other.py` is not there any more"),
    ] {
        let folder = copying(change);
        refused(&train(folder.path(), &["recipe.toml", "--unconfined"]), named);
        assert!(!folder.path().join("recipe/model.onnx").exists(), "{change}");
    }
}

#[test]
fn a_proof_that_could_not_be_signed_is_refused_before_the_training() {
    let folder = copying("");
    let recipe = std::fs::read_to_string(folder.path().join("recipe.toml")).expect("there");
    let long = format!("path = \"pair\", licence = \"{}\"", "l".repeat(600));
    write(&folder.path().join("recipe.toml"), recipe.replace("path = \"pair\"", &long));
    refused(&with_key(folder.path(), &["train", "recipe.toml"]), "`data.licence` has 600 bytes");
    assert!(!folder.path().join("recipe").exists(), "nothing was trained");
}

#[test]
fn of_several_keys_one_must_be_chosen_before_the_training() {
    let folder = copying("");
    // The first command makes a key.
    let again = with_key(folder.path(), &["keys", "new", "zoe"]);
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    let run = ["train", "recipe.toml"];
    let choose = "choose one with `--as NAME` or HOSPES_AS: acme, zoe";
    refused(&with_key(folder.path(), &run), choose);
    assert!(!folder.path().join("recipe").exists(), "nothing was trained");
    report(&with_key(folder.path(), &[&run[..], &["--as", "zoe"]].concat()));
    assert!(folder.path().join("recipe/provenance.dsse").is_file());
}
