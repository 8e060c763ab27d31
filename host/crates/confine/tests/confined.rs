//! Real programs, run confined: what they reach, and how they end. They need `python3` and `sh`.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::ops::ControlFlow;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hospes_confine::{ConfineError, Confined, Confinement, Ended, Limits, Stream, ending};

/// Set for this process, so that a program that has it got it from here.
const SECRET: &str = "HOSPES_TEST_SECRET";

fn shell(folder: &Path, script: &str) -> Confined {
    Confined::new("/bin/sh", folder).reading_system().argument("-c").argument(script)
}

/// How it ended, its output and its errors.
fn run(program: &Confined) -> (Ended, String, String) {
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let ended = program.run(|stream, piece| {
        match stream {
            Stream::Output => output.extend_from_slice(piece),
            Stream::Errors => errors.extend_from_slice(piece),
        }
        ControlFlow::Continue(())
    });
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (ended.expect("it starts"), text(&output), text(&errors))
}

/// What the hostile script says of each attempt.
fn attempts(confinement: Confinement) -> BTreeMap<String, bool> {
    let folder = tempfile::tempdir().expect("a folder");
    let own = folder.path().join("own");
    let private = folder.path().join("private");
    for made in [&own, &private] {
        std::fs::create_dir(made).expect("a folder");
    }
    let secret = private.join("secret");
    std::fs::write(&secret, "what is secret").expect("written");
    let permissions = std::fs::Permissions::from_mode(0o640);
    std::fs::set_permissions(&secret, permissions).expect("set");
    let unix = private.join("unix");
    let _unix = UnixListener::bind(&unix).expect("a socket");
    let heard = UnixDatagram::bind(private.join("unix-datagrams")).expect("a socket");
    heard.set_nonblocking(true).expect("a socket");
    let name = format!("hospes-confine-{}-{confinement:?}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let _abstract = UnixListener::bind_addr(&address).expect("a socket");
    let port = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut victim = Command::new("/bin/sleep")
        .arg("60")
        .env(SECRET, "1")
        .stdin(Stdio::null())
        .spawn()
        .expect("it starts");
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/hostile.py");
    let program = Confined::new("/usr/bin/python3", &own)
        .reading_system()
        .reading(&script)
        .argument(script.as_os_str())
        .argument(port.local_addr().expect("bound").port().to_string())
        .argument(secret.as_os_str())
        .argument(private.join("planted").as_os_str())
        .argument(unix.as_os_str())
        .argument(victim.id().to_string())
        .argument(name)
        .within(Limits { processes_max: 64, ..Limits::default() })
        .at_most(Duration::from_secs(60))
        .confined(confinement);
    let (ended, output, errors) = run(&program);
    assert!(ended.is_success(), "{ended:?} {errors}");
    let lives = victim.try_wait().expect("a child").is_none();
    let _ = victim.kill();
    let _ = victim.wait();
    if confinement == Confinement::Full {
        let about = std::fs::metadata(&secret).expect("there");
        assert_eq!(about.permissions().mode() & 0o7777, 0o640, "its permissions are as before");
        let changed = about.modified().expect("known").elapsed().expect("past");
        assert!(changed < Duration::from_secs(3600), "its times are as before");
        assert!(heard.recv(&mut [0; 8]).is_err(), "it was heard");
        assert!(lives, "the other process was ended");
        assert_eq!(std::fs::read_to_string(&secret).expect("there"), "what is secret");
        assert_eq!(std::fs::read_dir(&private).expect("there").count(), 3, "nothing is planted");
    }
    let parse = |line: &str| {
        let mut words = line.split(' ');
        Some((words.next()?.to_owned(), words.next()? == "reached"))
    };
    output.lines().filter_map(parse).collect()
}

#[test]
fn a_hostile_program_reaches_its_own_folder_and_nothing_else() {
    let attempts = attempts(Confinement::Full);
    assert_eq!(attempts.len(), 30, "{attempts:?}");
    let reached: Vec<&str> =
        attempts.iter().filter(|(_, reached)| **reached).map(|(name, _)| name.as_str()).collect();
    let expected: &[&str] = if rustix::process::geteuid().is_root() {
        // The kernel does not count root's processes.
        &["many", "own-folder", "own-permissions", "own-times", "program"]
    } else {
        &["own-folder", "own-permissions", "own-times", "program"]
    };
    assert_eq!(reached, expected);
}

/// Or the test above would say nothing.
#[test]
fn unconfined_the_same_program_reaches_what_the_caller_can() {
    let attempts = attempts(Confinement::None);
    for name in [
        "permissions",
        "owner",
        "times",
        "attributes",
        "datagrams",
        "raw-datagrams",
        "connect",
        "read",
        "write",
        "truncate",
        "unix",
        "abstract",
        "memory",
        "kill",
    ] {
        assert_eq!(attempts.get(name), Some(&true), "{name}: {attempts:?}");
    }
    for name in ["variables", "input", "inherited"] {
        assert_eq!(attempts.get(name), Some(&false), "{name}: {attempts:?}");
    }
}

#[test]
fn what_it_says_and_how_it_ends_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    for confinement in [Confinement::Full, Confinement::None] {
        let says = shell(folder.path(), "echo out; echo err >&2; pwd; echo $HOME $X; exit 3")
            .variable("X", "given")
            .confined(confinement);
        let (ended, output, errors) = run(&says);
        let here = folder.path().display();
        assert_eq!(output, format!("out\n{here}\n{here} given\n"));
        assert_eq!(errors, "err\n");
        let Ended::With(status) = ended else { panic!("{ended:?}") };
        assert_eq!(ending(&status), "exit code 3");
        let (ended, _, _) = run(&shell(folder.path(), "kill -SEGV $$").confined(confinement));
        let Ended::With(status) = ended else { panic!("{ended:?}") };
        assert_eq!(ending(&status), "an invalid memory access (SIGSEGV)");
    }
}

#[test]
fn it_ends_at_its_deadline_with_all_that_it_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = "(while :; do echo x >> beats; sleep 0.02; done) & setsid sh -c \
                  'while :; do echo x >> others; sleep 0.02; done' & sleep 100";
    let began = Instant::now();
    let (ended, _, _) = run(&shell(folder.path(), script).at_most(Duration::from_millis(700)));
    assert_eq!(ended, Ended::AtDeadline);
    assert!(began.elapsed() < Duration::from_secs(20));
    is_silent(folder.path());
}

/// Its processes wrote, and write no more.
fn is_silent(folder: &Path) {
    let length = |name: &str| std::fs::metadata(folder.join(name)).expect("it was written").len();
    let began = Instant::now();
    loop {
        let before = (length("beats"), length("others"));
        std::thread::sleep(Duration::from_millis(300));
        if (length("beats"), length("others")) == before {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "they live on");
    }
}

#[test]
fn what_it_leaves_behind_is_ended_when_it_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = "(while :; do echo x >> beats; sleep 0.02; done) & setsid sh -c \
                  'while :; do echo x >> others; sleep 0.02; done' & sleep 0.3";
    let (ended, _, _) = run(&shell(folder.path(), script));
    assert!(ended.is_success(), "{ended:?}");
    is_silent(folder.path());
}

#[test]
fn it_is_ended_when_nobody_wants_to_hear_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let endless = shell(folder.path(), "while :; do echo y; done");
    let mut heard = 0;
    let ended = endless.run(|_, piece| {
        heard += piece.len();
        if heard > 100_000 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(ended.expect("it starts"), Ended::Stopped);
}

#[test]
fn one_that_says_nothing_can_be_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let began = Instant::now();
    let mut looks = 0;
    let silent = shell(folder.path(), "sleep 60");
    let ended = silent.run_watched(Duration::from_millis(10), |met| {
        assert!(met.is_none(), "it says nothing");
        looks += 1;
        if looks == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((ended.expect("it starts"), looks), (Ended::Stopped, 3));
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[test]
fn one_that_never_pauses_is_looked_at_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let endless = shell(folder.path(), "while :; do echo y; done");
    let ended = endless.run_watched(Duration::from_millis(10), |met| match met {
        Some(_) => ControlFlow::Continue(()),
        None => ControlFlow::Break(()),
    });
    assert_eq!(ended.expect("it starts"), Ended::Stopped);
}

#[test]
fn it_has_limits() {
    let folder = tempfile::tempdir().expect("a folder");
    let limits = Limits {
        file_bytes_max: 1000,
        memory_bytes_max: 300 << 20,
        cpu_max: Duration::from_secs(1),
        ..Limits::default()
    };
    let (ended, _, _) = run(&shell(folder.path(), "head -c 2000 /dev/zero > large").within(limits));
    assert!(!ended.is_success(), "{ended:?}");
    assert_eq!(std::fs::metadata(folder.path().join("large")).expect("there").len(), 1000);
    let python = |code: &str| {
        Confined::new("/usr/bin/python3", folder.path())
            .reading_system()
            .argument("-c")
            .argument(code)
            .within(limits)
    };
    let (ended, _, errors) = run(&python("bytearray(1 << 30)"));
    assert!(!ended.is_success() && errors.contains("MemoryError"), "{ended:?} {errors}");
    let (ended, _, _) = run(&python("while True: pass").at_most(Duration::from_secs(60)));
    let Ended::With(status) = ended else { panic!("{ended:?}") };
    assert_eq!(ending(&status), "being killed (SIGKILL)");
}

/// Makes a program that others would run as its owner, by every call that gives a mode.
const SET_USER: &str = "import os, stat\n\
    def tried(what):\n\
    \x20   try: what()\n\
    \x20   except OSError: return\n\
    \x20   print('done')\n\
    open('plain', 'w').close(); os.mkdir('folder')\n\
    os.chmod('plain', 0o755); os.chmod('folder', 0o2755)\n\
    plain = os.open('plain', os.O_RDONLY)\n\
    tried(lambda: os.chmod('plain', 0o4755))\n\
    tried(lambda: os.fchmod(plain, 0o6755))\n\
    tried(lambda: os.chmod('plain', 0o4755, dir_fd=os.open('.', os.O_RDONLY)))\n\
    tried(lambda: os.open('made', os.O_CREAT | os.O_WRONLY, 0o4755))\n\
    tried(lambda: os.open('.', os.O_TMPFILE | os.O_WRONLY, 0o4755))\n\
    tried(lambda: os.mknod('node', 0o4755 | stat.S_IFREG))\n\
    tried(lambda: os.mkdir('other', 0o4755))\n";

#[test]
fn no_program_is_left_that_others_would_run_as_the_caller() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().expect("a folder");
    let program = Confined::new("/usr/bin/python3", folder.path()).reading_system();
    let (ended, output, errors) = run(&program.argument("-c").argument(SET_USER));
    assert!(ended.is_success(), "{errors}");
    assert_eq!(output, "", "a call was allowed");
    let mode = |name: &str| {
        let metadata = std::fs::metadata(folder.path().join(name)).expect("there");
        metadata.permissions().mode() & 0o7777
    };
    assert_eq!((mode("plain"), mode("folder")), (0o755, 0o2755));
}

/// TensorFlow does so when it is imported, and aborts where it fails.
const AS_TENSORFLOW: &str = "import os, sys\n\
    program = os.readlink('/proc/self/exe')\n\
    if 'python' in program: open('/proc/self/cmdline').close()\n\
    print(program, sys.prefix, sys.executable)";

#[test]
fn a_python_does_not_see_that_its_program_is_one_and_has_its_environment() {
    let folder = tempfile::tempdir().expect("a folder");
    let (own, environment) = (folder.path().join("own"), folder.path().join("made"));
    std::fs::create_dir(&own).expect("a folder");
    let mut venv = Command::new("/usr/bin/python3");
    venv.args(["-m", "venv", "--without-pip"]).arg(&environment);
    assert!(venv.status().expect("it runs").success());
    let made = environment.join("bin/python");
    let system = Path::new("/usr/bin/python3");
    for (python, prefix) in [(made.as_path(), environment.as_path()), (system, Path::new("/usr"))] {
        let program = Confined::new(python, &own).reading_system().reading_python(python);
        let program = program.argument("-c").argument(AS_TENSORFLOW);
        let (ended, output, errors) = run(&program);
        assert!(ended.is_success(), "{errors}");
        let expected = format!("{} {}\n", prefix.display(), python.display());
        let (started, found) = output.split_once(' ').expect("three words");
        assert_eq!(found, expected, "{started}");
        // Unconfined, it is started as usual.
        let (ended, output, errors) = run(&program.confined(Confinement::None));
        assert!(ended.is_success() && output.contains("/python3"), "{output} {errors}");
    }
}

#[test]
fn what_cannot_be_run_or_handed_over_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let absent = folder.path().join("absent");
    let started = |program: &Confined| program.run(|_, _| ControlFlow::Continue(()));
    let error = started(&Confined::new(&absent, folder.path()).reading_system());
    let error = error.expect_err("no program");
    assert!(
        matches!(&error, ConfineError::Program { program, .. } if *program == absent),
        "{error:?}"
    );
    let error = started(&shell(folder.path(), "true").reading(&absent)).expect_err("no file");
    assert!(matches!(&error, ConfineError::Path { path, .. } if *path == absent), "{error:?}");
    let error = started(&shell(&absent, "true")).expect_err("no folder");
    assert!(matches!(&error, ConfineError::Path { path, .. } if *path == absent), "{error:?}");
}

/// Where the test below finds its folder; set in the process that it kills.
const HELPER: &str = "HOSPES_TEST_CONFINE_HELPER";

#[test]
#[ignore = "the process that `it_ends_when_its_caller_is_killed` starts"]
fn helper() {
    let Some(folder) = std::env::var_os(HELPER) else { return };
    let script = "(while :; do echo x >> beats; sleep 0.02; done) & setsid sh -c \
                  'while :; do echo x >> others; sleep 0.02; done' & sleep 100";
    run(&shell(Path::new(&folder), script));
}

#[test]
fn it_ends_when_its_caller_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut caller = Command::new(std::env::current_exe().expect("this program"))
        .args(["--ignored", "--exact", "helper"])
        .env(HELPER, folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let began = Instant::now();
    while !folder.path().join("others").exists() || !folder.path().join("beats").exists() {
        assert!(began.elapsed() < Duration::from_secs(30), "nothing runs");
        std::thread::sleep(Duration::from_millis(20));
    }
    caller.kill().expect("a child");
    caller.wait().expect("a child");
    is_silent(folder.path());
}
