//! A worker that is an attacker's: what runs in place of `hospes worker` where a test says so.
//!
//! It is confined as the real one is. Given an ordinary model it tries to reach what is not its own and reports what it reached, as
//! the reason why it does not load the model. Given a model whose documentation says `hostile:WORD;` it loads it and answers with
//! garbage of that kind.

use std::fs::File;
use std::io::{Read as _, stdin, stdout};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use hospes::inference::backend::{BackendError, BackendKind};
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
    let Order::Setup(setup) = setup.message else { panic!("the first order is how to work") };
    let host = rustix::process::getppid().expect("a parent");
    let confinement = confine(setup.limits, &[work.as_fd(), control.as_fd()]);
    let word = Arc::new(Mutex::new(String::new()));
    let garbage = Arc::clone(&word);
    std::thread::spawn(move || answer(&work, &garbage));
    start_no_more_threads();
    let backends = [BackendKind::Onnxruntime, BackendKind::Tract]
        .map(|kind| Offered { kind, usable: Ok("an attacker's".into()) });
    let ready = Report::Ready { version: VERSION, backends: backends.into(), confinement };
    control.send(&ready, None).expect("sent");
    while let Ok(Some(order)) = control.receive::<Order>(&mut buffer) {
        let Order::Load { model, bytes, .. } = order.message else { continue };
        let mut text = Vec::new();
        let file = File::from(order.file.expect("a model's file"));
        file.take(bytes).read_to_end(&mut text).expect("readable");
        let text = String::from_utf8_lossy(&text).into_owned();
        let said = text.split("hostile:").nth(1).and_then(|rest| rest.split(';').next());
        let report = match said {
            Some(said) => {
                said.clone_into(&mut word.lock().expect("sound"));
                Report::Loaded { model, signature: signature() }
            }
            None => Report::NotLoaded { model, error: BackendError::Failed(attack(host)) },
        };
        control.send(&report, None).expect("sent");
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

/// What can be done that must not be possible.
fn attack(host: Pid) -> String {
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
        ("take 64 GiB", Vec::<u8>::new().try_reserve_exact(64 << 30).is_ok()),
    ];
    let reached: Vec<&str> =
        tries.iter().filter(|(_, done)| *done).map(|(what, _)| *what).collect();
    format!("reached: {reached:?}, tried: {}", tries.len())
}

/// Answers each job with garbage.
fn answer(work: &End, word: &Mutex<String>) {
    let mut buffer = Buffer::default();
    while let Ok(Some(job)) = work.receive::<Job>(&mut buffer) {
        let job = job.message.job;
        let head =
            |data_type, shape: &[usize], bytes| Head { data_type, shape: shape.to_vec(), bytes };
        let good = || head(DataType::U8, &[2], 2);
        let done = |result: Result<Vec<Head>, JobError>| Done { job, nanos: u64::MAX, result };
        let word = word.lock().expect("sound").clone();
        let answers = match word.as_str() {
            "shape" => vec![done(Ok(vec![head(DataType::F64, &[usize::MAX, usize::MAX], 2)]))],
            "length" => vec![done(Ok(vec![head(DataType::U8, &[usize::MAX], usize::MAX)]))],
            "count" => vec![done(Ok(vec![good(); 1000]))],
            "type" => vec![done(Ok(vec![head(DataType::Bytes, &[1_000_000], 2)]))],
            "twice" => vec![done(Err(JobError::Unknown)), done(Ok(vec![good()]))],
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
