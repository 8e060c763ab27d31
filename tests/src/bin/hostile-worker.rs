//! A malicious worker, which some tests use in place of `hospes worker`.
//!
//! It is confined like the real one. For an ordinary model, it tries to reach what it must not, and
//! reports what it reached as the reason for not loading the model. If a model's documentation
//! contains `hostile:WORD;`, it loads the model and answers with that kind of garbage; with
//! `hostile:2-WORD;`, the first two answers are correct. `good` always answers correctly and `hang`
//! never finishes loading; `tract-hang` and `tract-fails` do what they say with tract and are good
//! otherwise. `dies-again` and `slow-again` are good until the model is loaded from the host's
//! store, as happens when this worker replaces another.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read as _, Write as _, stdin, stdout};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hospes::backend::BackendKind;
use hospes::inference::backend::BackendError;
use hospes::inference::protocol::{Done, Head, Job, JobError, Offered, Order, Report, VERSION};
use hospes::inference::{ModelSignature, OutputSpec, TensorSpec};
use hospes::tensor::DataType;
use hospes::worker::End;
use hospes::worker::channel::Buffer;
use hospes::worker::confine::{confine, start_no_more_threads};
use rustix::process::{Pid, PidfdFlags, Signal};

fn main() {
    let work = End::from(stdin().as_fd().try_clone_to_owned().expect("a socket"));
    let control = End::from(stdout().as_fd().try_clone_to_owned().expect("a socket"));
    if std::env::args().nth(2).as_deref() == Some("compile") {
        hospes::sandbox::compiling::run(&work, &control).expect("compiled");
        return;
    }
    let mut buffer = Buffer::default();
    let setup = control.receive::<Order>(&mut buffer).expect("readable").expect("the first");
    let Order::Setup(setup) = setup.message else { panic!("the first order must be the setup") };
    let host = rustix::process::getppid().expect("a parent");
    let answers = End::from(work.as_fd().try_clone_to_owned().expect("a socket"));
    bear_large_files();
    let confinement = confine(setup.limits, &[work.as_fd(), control.as_fd(), answers.as_fd()]);
    let models = Arc::new(Mutex::new(HashMap::new()));
    let garbage = Arc::clone(&models);
    std::thread::spawn(move || answer(&work, &garbage));
    start_no_more_threads();
    let backends =
        BackendKind::ALL.map(|kind| Offered { kind, usable: Ok("an attacker's".into()) });
    let ready = Report::Ready { version: VERSION, backends: backends.into(), confinement };
    control.send(&ready, None).expect("sent");
    while let Ok(Some(order)) = control.receive::<Order>(&mut buffer) {
        let (model, backend, bytes) = match order.message {
            Order::Load { model, backend, bytes, .. } => (model, backend, bytes),
            Order::Cancel { job, .. } if is_obedient(&models) => {
                let done = Done { job, nanos: 0, result: Err(JobError::Cancelled) };
                answers.send(&done, None).expect("sent");
                continue;
            }
            _ => continue,
        };
        let mut text = Vec::new();
        let mut file = File::from(order.file.expect("a model's file"));
        // A model being published arrives in sealed memory, a stored one as a file.
        let is_kept = rustix::fs::fcntl_get_seals(&file).is_err();
        (&mut file).take(bytes).read_to_end(&mut text).expect("readable");
        let text = String::from_utf8_lossy(&text).into_owned();
        let said = text.split("hostile:").nth(1).and_then(|rest| rest.split(';').next());
        let report = match said {
            Some("hang") => continue,
            Some("tract-hang") if backend == BackendKind::Tract => continue,
            Some(said) => {
                match said {
                    "dies-again" if is_kept => std::process::abort(),
                    "slow-again" if is_kept => std::thread::sleep(Duration::from_secs(2)),
                    _ => {}
                }
                models.lock().expect("sound").insert(model, Garbage::read(said, backend));
                Report::Loaded { model, signature: signature() }
            }
            None => Report::NotLoaded { model, error: BackendError::Failed(attack(host, file)) },
        };
        control.send(&report, None).expect("sent");
    }
}

/// How a model's jobs are answered.
struct Garbage {
    /// How many are answered correctly first.
    good: u32,
    word: String,
}

impl Garbage {
    fn read(said: &str, backend: BackendKind) -> Self {
        let (good, word) = match said.split_once('-') {
            Some(("tract", word)) if backend == BackendKind::Tract => (0, word),
            Some(("tract", _)) => (0, "good"),
            Some((good, word)) if good.parse::<u32>().is_ok() => {
                (good.parse().expect("just parsed"), word)
            }
            Some(_) | None => (0, said),
        };
        Self { good, word: word.to_owned() }
    }

    fn next(&mut self) -> String {
        if self.good > 0 {
            self.good -= 1;
            return "good".to_owned();
        }
        self.word.clone()
    }
}

fn signature() -> ModelSignature {
    let input = TensorSpec {
        name: "x".into(),
        data_type: DataType::U8,
        shape: Some(vec![None]),
        optional: false,
    };
    let output =
        OutputSpec { name: "y".into(), data_type: Some(DataType::U8), shape: Some(vec![None]) };
    ModelSignature { inputs: vec![input], outputs: vec![output] }
}

/// Makes writing beyond the file size limit an error that can be reported, instead of a fatal
/// signal.
fn bear_large_files() {
    // SAFETY: nothing in this process handles the signal.
    #[expect(unsafe_code, reason = "there is no safe equivalent")]
    let before = unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    assert_ne!(before, libc::SIG_ERR);
}

/// See fcntl(2); `libc` does not name it.
const F_SETSIG: libc::c_int = 10;

/// Makes the kernel signal `host` about events on a file.
fn own(command: libc::c_int, value: libc::c_int) -> bool {
    // SAFETY: these commands take a number and change only the socket's settings.
    #[expect(unsafe_code, reason = "there is no safe equivalent")]
    let done = unsafe { libc::fcntl(libc::STDIN_FILENO, command, value) };
    done == 0
}

/// Attempts everything that must be impossible, and reports what succeeded.
fn attack(host: Pid, mut model: File) -> String {
    let host_number = host.as_raw_nonzero();
    let tries: Vec<(&str, bool)> = vec![
        ("read /etc/passwd", std::fs::read("/etc/passwd").is_ok()),
        ("list /", std::fs::read_dir("/").is_ok()),
        (
            "read the host's environment",
            std::fs::read(format!("/proc/{host_number}/environ")).is_ok(),
        ),
        ("open the host's memory", File::open(format!("/proc/{host_number}/mem")).is_ok()),
        ("list the host's files", std::fs::read_dir(format!("/proc/{host_number}/fd")).is_ok()),
        ("read its own program", File::open("/proc/self/exe").is_ok()),
        ("write to /tmp", File::create("/tmp/hospes-worker-was-here").is_ok()),
        ("make a folder", std::fs::create_dir("/tmp/hospes-worker-was-here").is_ok()),
        ("read metadata", std::fs::metadata("/etc/shadow").is_ok()),
        ("connect to TCP", TcpStream::connect("127.0.0.1:8080").is_ok()),
        ("listen on TCP", TcpListener::bind("127.0.0.1:0").is_ok()),
        ("connect to a Unix socket", UnixStream::connect("/run/dbus/system_bus_socket").is_ok()),
        ("listen on a Unix socket", UnixListener::bind("/tmp/hospes-worker-socket").is_ok()),
        ("make a pair of sockets", UnixStream::pair().is_ok()),
        ("start a program", Command::new("/bin/true").status().is_ok()),
        ("signal the host", rustix::process::kill_process(host, Signal::CONT).is_ok()),
        ("find the host", rustix::process::test_kill_process(host).is_ok()),
        ("open the host as a file", rustix::process::pidfd_open(host, PidfdFlags::empty()).is_ok()),
        ("start a thread", std::thread::Builder::new().spawn(|| ()).is_ok()),
        ("have a file signal the host", own(libc::F_SETOWN, host_number.get())),
        ("choose a file's signal", own(F_SETSIG, libc::SIGKILL)),
        (
            "make a file in memory",
            rustix::fs::memfd_create("mine", rustix::fs::MemfdFlags::CLOEXEC).is_ok(),
        ),
        ("write to its model's file", model.write_all(&[0; 1 << 20]).is_ok()),
        ("take 64 GiB", Vec::<u8>::new().try_reserve_exact(64 << 30).is_ok()),
    ];
    let reached: Vec<&str> =
        tries.iter().filter(|(_, done)| *done).map(|(what, _)| *what).collect();
    format!("reached: {reached:?}, tried: {}", tries.len())
}

/// Whether it confirms cancelled jobs, which it does not compute.
fn is_obedient(models: &Mutex<HashMap<u32, Garbage>>) -> bool {
    models.lock().expect("sound").values().any(|garbage| garbage.word == "obedient")
}

/// Answers each job with garbage.
fn answer(work: &End, models: &Mutex<HashMap<u32, Garbage>>) {
    let mut buffer = Buffer::default();
    while let Ok(Some(job)) = work.receive::<Job>(&mut buffer) {
        let is_single = matches!(&*job.message.inputs, [Some(one)] if one.bytes == 1);
        let Job { job, model, .. } = job.message;
        let head =
            |data_type, shape: &[usize], bytes| Head { data_type, shape: shape.to_vec(), bytes };
        let good = || head(DataType::U8, &[2], 2);
        let done = |result: Result<Vec<Head>, JobError>| Done { job, nanos: u64::MAX, result };
        let word = models.lock().expect("sound").get_mut(&model).expect("loaded").next();
        let answers = match word.as_str() {
            // The trial inference before it goes live has one element.
            "obedient" if is_single => vec![done(Ok(vec![head(DataType::U8, &[1], 1)]))],
            "good" => vec![done(Ok(vec![good()]))],
            "fails" => vec![done(Err(JobError::Backend(BackendError::Failed("no".into()))))],
            "shape" => vec![done(Ok(vec![head(DataType::F64, &[usize::MAX, usize::MAX], 2)]))],
            "length" => vec![done(Ok(vec![head(DataType::U8, &[usize::MAX], usize::MAX)]))],
            "count" => vec![done(Ok(vec![good(); 1000]))],
            "type" => vec![done(Ok(vec![head(DataType::Bytes, &[1_000_000], 2)]))],
            "twice" => vec![done(Err(JobError::Unknown)), done(Ok(vec![good()]))],
            "slow-again" | "dies-again" => vec![done(Ok(vec![good()]))],
            "unknown" => vec![Done { job: job + 1000, ..done(Ok(vec![good()])) }],
            "bytes" => {
                let _ = rustix::net::send(work, &[0xFF; 4000], rustix::net::SendFlags::NOSIGNAL);
                Vec::new()
            }
            _ => Vec::new(),
        };
        for answer in answers {
            let _ = work.send(&answer, None);
        }
    }
}
