//! Native inference in separate processes: a crash there affects nothing else.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hospes::backend::BackendKind;
use hospes::config::{Config, Isolation};
use serde_json::{Value, json};
use system_tests::tenants::{Tenants, byte_identity, case, echo, int64};
use system_tests::{
    HostProcess, Party, Request, TestHost, documented, hostile_worker, identity, model_bundle,
    terms, without_landlock,
};

fn quotient(a: i64, b: i64) -> Value {
    json!([int64("A", &[a]), int64("B", &[b])])
}

#[test]
fn int64_min_by_minus_one_ends_a_worker_and_not_the_host() {
    let scene = Tenants::new(|_| {});
    scene.model(&scene.acme, "div", case("intdiv.onnx"));
    assert_eq!(
        scene.call(&scene.zoe, "acme/div", &quotient(7, 2)).ok().json()["outputs"][0]["data"],
        json!([3])
    );
    let before = scene.workers();

    let lost = scene.call(&scene.zoe, "acme/div", &quotient(i64::MIN, -1));
    let problem = lost.problem(502, "plugin-failed");
    assert_eq!(problem["failure"], "computation-lost", "{problem}");
    let detail = problem["detail"].as_str().expect("text");
    assert!(detail.contains("SIGFPE"), "the detail must say what happened: {detail}");
    let receipt = scene.receipt(&scene.zoe, &lost);
    assert_eq!(receipt["result"], "failed: computation-lost", "{receipt}");

    // Another caller does not wait and is served by a new process.
    let other = scene.call(&scene.yan, "acme/div", &quotient(8, 2)).ok().json();
    assert_eq!(other["outputs"][0]["data"], json!([4]));
    let after = scene.workers();
    assert_eq!((before.len(), after.len()), (1, 1));
    assert_ne!(before, after, "the worker was replaced");

    // The caller who caused it is backed off, each time for longer.
    let mut waits = Vec::new();
    for _ in 0..3 {
        let paused = scene.call(&scene.zoe, "acme/div", &quotient(i64::MIN, -1));
        if paused.status == 503 {
            let problem = paused.problem(503, "busy");
            assert_eq!(problem["failure"], "computation-paused", "{problem}");
            assert!(paused.header("retry-after").is_some());
        }
        let mut waited = Duration::ZERO;
        while scene.call(&scene.zoe, "acme/div", &quotient(9, 2)).status == 503 {
            std::thread::sleep(Duration::from_millis(20));
            waited += Duration::from_millis(20);
        }
        waits.push(waited);
        scene.call(&scene.zoe, "acme/div", &quotient(i64::MIN, -1)).problem(502, "plugin-failed");
    }
    assert!(waits[2] > waits[0], "the back-off must grow: {waits:?}");
    let incidents = scene.host.operator("GET", "/status").send().ok().json();
    assert!(incidents["workers"]["incidents"][0]["times"].as_u64() >= Some(3), "{incidents}");
}

#[test]
fn a_publisher_is_told_of_its_own_models_that_are_backed_off_and_not_who_called() {
    let scene = Tenants::new(|_| {});
    // Two publishers have the same weights, but only one's crash.
    scene.model(&scene.acme, "div", case("intdiv.onnx"));
    scene.model(&scene.umbrella, "div", case("intdiv.onnx"));
    let account =
        |party: &Party| scene.host.get("/api/account").bearer(&party.api_key).send().ok().json();
    assert_eq!(account(&scene.acme)["incidents"], json!([]));
    for consumer in [&scene.zoe, &scene.yan] {
        let lost = scene.call(consumer, "acme/div", &quotient(i64::MIN, -1));
        lost.problem(502, "plugin-failed");
    }
    let own = account(&scene.acme);
    let incidents = own["incidents"].as_array().expect("a list");
    assert_eq!(incidents.len(), 2, "one incident per caller: {own}");
    for incident in incidents {
        assert_eq!(incident["versions"], json!(["acme/div@1.0.0"]), "{own}");
        assert_eq!(incident["times"], 1, "{own}");
        assert!(incident["wait_ms"].as_u64().is_some_and(|wait| wait <= 250), "{own}");
        assert!(incident["how"].as_str().expect("text").contains("SIGFPE"), "{own}");
    }
    for name in ["zoe", "yan"] {
        assert!(!own["incidents"].to_string().contains(name), "{own}");
    }
    for other in [&scene.umbrella, &scene.zoe] {
        assert_eq!(account(other)["incidents"], json!([]), "others must not see it");
    }
    let status = scene.host.operator("GET", "/status").send().ok().json();
    assert_eq!(status["workers"]["incidents"][0]["publisher"], "acme", "{status}");

    let shown = account_show(&scene, &scene.acme);
    let line = "backed off  acme/div@1.0.0 ended its worker process by";
    assert_eq!(shown.matches(line).count(), 2, "{shown}");
    assert!(!account_show(&scene, &scene.umbrella).contains("backed off"));
}

/// The output of `hospes account show` for a party.
fn account_show(scene: &Tenants, party: &Party) -> String {
    let home = tempfile::tempdir().expect("a directory");
    let accounts = home.path().join("accounts");
    std::fs::create_dir(&accounts).expect("made");
    let (name, key) = (&party.name, party.key.party());
    let account = json!({"name": name, "key": name, "party": key, "api_key": party.api_key});
    let path = accounts.join(format!("{name}.json"));
    std::fs::write(&path, account.to_string()).expect("written");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(path, private).expect("changed");
    let shown = HostProcess::command()
        .args([
            "account",
            "show",
            "--as",
            name,
            "--host",
            &format!("http://{}", scene.host.address()),
        ])
        .env("HOSPES_HOME", home.path())
        .output()
        .expect("it runs");
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    String::from_utf8(shown.stdout).expect("text")
}

#[test]
fn a_loop_without_end_ends_at_its_deadline_and_holds_up_nobody() {
    let scene = Tenants::new(|config| config.sandbox.deadline = Duration::from_secs(1));
    scene.model(&scene.acme, "loop", case("loop.onnx"));
    scene.model(&scene.umbrella, "echo", byte_identity());
    let turns = |count: i64| json!([int64("N", &[count])]);
    let (quick, endless) = (turns(1), turns(1 << 62));
    // Often enough that its average duration is short.
    for _ in 0..20 {
        scene.call(&scene.zoe, "acme/loop", &quick).ok();
    }
    let over = AtomicBool::new(false);
    let (slowest, calls) = std::thread::scope(|scope| {
        let hogs: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let began = Instant::now();
                    let reply = scene.call(&scene.zoe, "acme/loop", &endless);
                    (reply, began.elapsed())
                })
            })
            .collect();
        let neighbour = scope.spawn(|| {
            let (mut slowest, mut calls) = (Duration::ZERO, 0);
            while !over.load(Ordering::Relaxed) {
                let began = Instant::now();
                assert_eq!(scene.host.get("/healthz").send().status, 200);
                scene.call(&scene.yan, "umbrella/echo", &echo()).ok();
                slowest = slowest.max(began.elapsed());
                calls += 1;
            }
            (slowest, calls)
        });
        for hog in hogs {
            let (reply, took) = hog.join().expect("it ends");
            reply.problem(504, "plugin-deadline");
            assert!(took < Duration::from_secs(2), "at most the deadline and a second: {took:?}");
            assert_eq!(scene.receipt(&scene.zoe, &reply)["result"], "failed: deadline");
        }
        over.store(true, Ordering::Relaxed);
        neighbour.join().expect("it ends")
    });
    assert!(
        calls > 3 && slowest < Duration::from_millis(900),
        "{calls} calls, {slowest:?} at most"
    );
    scene.call(&scene.yan, "acme/loop", &quick).ok();
}

#[test]
fn what_was_computed_for_one_caller_never_reaches_another_after_computations_were_cancelled() {
    const CALLERS: u8 = 8;
    const BYTES: usize = 200_000;
    let scene = Tenants::new(|config| {
        config.sandbox.deadline = Duration::from_secs(2);
        config.inference.threads = 2.try_into().expect("not zero");
        config.admission.slots_max = 16.try_into().expect("not zero");
    });
    scene.model(&scene.acme, "loop", case("loop.onnx"));
    scene.model(&scene.acme, "echo", byte_identity());
    let endless = json!([int64("N", &[1 << 62])]);
    // Some are cancelled before a thread has taken them, some while they run.
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| scene.call(&scene.zoe, "acme/loop", &endless));
        }
    });
    // Then each caller sends its own bytes and expects them back.
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let scene = &scene;
            scope.spawn(move || {
                for round in 0..12 {
                    let own = vec![caller * 16 + round; BYTES];
                    let call = scene.host.call(&scene.yan, "acme/echo/infer");
                    let call = call.header("accept", "application/octet-stream");
                    let reply = call.octets(own.clone()).send();
                    // On a busy machine calls may be late, but never wrong.
                    if reply.status == 200 {
                        assert!(reply.body == own, "{caller} got another caller's bytes");
                    } else {
                        assert!(matches!(reply.status, 502..=504), "{}", reply.text());
                    }
                }
            });
        }
    });
    scene.call(&scene.yan, "acme/echo", &echo()).ok();
}

#[test]
fn a_worker_that_is_killed_takes_only_its_own_calls_along() {
    const KILLS: usize = 10;
    let scene = Tenants::new(|_| {});
    scene.model(&scene.acme, "echo", byte_identity());
    scene.call(&scene.zoe, "acme/echo", &echo()).ok();
    let acme = scene.workers();
    scene.model(&scene.umbrella, "echo", byte_identity());
    scene.call(&scene.zoe, "umbrella/echo", &echo()).ok();
    assert_eq!((acme.len(), scene.workers().len()), (1, 2), "one worker per publisher");
    let over = AtomicBool::new(false);
    let (right, lost) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let over = &over;
        let neighbour = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                scene.call(&scene.yan, "umbrella/echo", &echo()).ok();
            }
        });
        let own = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let reply = scene.call(&scene.zoe, "acme/echo", &echo());
                match reply.status {
                    200 => {
                        assert_eq!(reply.json()["outputs"][0]["data"], json!([1, 2]));
                        right.fetch_add(1, Ordering::Relaxed);
                    }
                    _ => {
                        lost.fetch_add(1, Ordering::Relaxed);
                        // Its worker was killed: the caller is told, and may be backed off.
                        assert!(matches!(reply.status, 502 | 503), "{}", reply.text());
                    }
                }
            }
        });
        let neighbour_s = scene.workers().into_iter().find(|worker| !acme.contains(worker));
        for kill in 0..KILLS {
            std::thread::sleep(Duration::from_millis(37 + 13 * (kill as u64 % 5)));
            let victim = scene.workers().into_iter().find(|worker| Some(*worker) != neighbour_s);
            let Some(victim) = victim else { continue };
            let killed =
                std::process::Command::new("kill").args(["-9", &victim.to_string()]).status();
            assert!(killed.expect("it runs").success());
        }
        std::thread::sleep(Duration::from_millis(400));
        over.store(true, Ordering::Relaxed);
        neighbour.join().expect("every call of the neighbour succeeds");
        own.join().expect("every call succeeds or reports a lost worker");
    });
    let (right, lost) = (right.into_inner(), lost.into_inner());
    assert!(right > KILLS && lost < right, "{right} succeeded, {lost} lost");
    scene.call(&scene.zoe, "acme/echo", &echo()).ok();
}

#[test]
fn isolation_is_what_the_operator_chose() {
    let workers = |isolation, trusted: &[&str]| {
        let scene = Tenants::new(|config| {
            config.inference.isolation = isolation;
            config.inference.trusted_publishers =
                trusted.iter().map(|name| name.parse().expect("a name")).collect();
        });
        scene.model(&scene.acme, "one", byte_identity());
        scene.model(&scene.acme, "two", identity(hospes::tensor::DataType::U8, 2));
        scene.model(&scene.umbrella, "one", byte_identity());
        for model in ["acme/one", "umbrella/one"] {
            scene.call(&scene.zoe, model, &echo()).ok();
        }
        let two = json!([{"name": "x", "datatype": "UINT8", "shape": [1, 2], "data": [1, 2]}]);
        scene.call(&scene.zoe, "acme/two", &two).ok();
        scene.workers().len()
    };
    assert_eq!(workers(Isolation::Model, &[]), 3);
    assert_eq!(workers(Isolation::Publisher, &["acme"]), 2);
    assert_eq!(workers(Isolation::None, &[]), 2, "only named publishers are trusted");
    assert_eq!(workers(Isolation::None, &["acme"]), 1);
}

#[test]
fn readiness_says_so_while_no_worker_can_be_started() {
    let folder = tempfile::tempdir().expect("a directory");
    let (program, away) = (folder.path().join("hospes"), folder.path().join("away"));
    std::fs::copy(system_tests::HostProcess::program(), &program).expect("copied");
    let scene = Tenants::new(|config| config.inference.worker_program = Some(program.clone()));
    scene.model(&scene.acme, "echo", byte_identity());
    scene.call(&scene.zoe, "acme/echo", &echo()).ok();
    let get = |path: &str| scene.host.get(path).bearer(&scene.zoe.api_key).send().status;
    let ready = || ["/readyz", "/v2/health/ready", "/v2/models/acme%2Fecho/ready"].map(&get);
    let until = |wanted: [u16; 3], meanwhile: &dyn Fn()| {
        let began = Instant::now();
        while ready() != wanted {
            assert!(began.elapsed() < Duration::from_secs(60), "{:?}, not {wanted:?}", ready());
            meanwhile();
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    // A crashed worker is replaced at the next call, as long as there is a spare one.
    let kill_and_call = || {
        for worker in scene.workers() {
            let mut kill = std::process::Command::new("kill");
            let _ = kill.args(["-9", &worker.to_string()]).status().expect("it runs");
        }
        let _ = scene.call(&scene.zoe, "acme/echo", &echo());
    };
    assert_eq!(ready(), [200; 3]);
    std::fs::rename(&program, &away).expect("renamed");
    until([503; 3], &kill_and_call);
    // Strangers are told the cause. How many versions are concerned is the operator's business.
    let problem = scene.host.get("/readyz").send().problem(503, "unavailable");
    assert_eq!(problem["state"], "no-workers");
    assert!(problem.get("concerned").is_none() && problem.get("versions").is_none(), "{problem}");
    for path in ["/readyz", "/v2/health/ready"] {
        let told = scene.host.get(path).send().text();
        assert!(told.contains("a process for inference now; see its log"), "{path}: {told}");
    }
    let problem = scene.host.operator("GET", "/readyz").send().problem(503, "unavailable");
    assert_eq!((&problem["state"], &problem["concerned"]), (&json!("no-workers"), &json!(1)));
    assert_ne!(scene.call(&scene.zoe, "acme/echo", &echo()).status, 200);
    // It recovers by itself.
    std::fs::rename(&away, &program).expect("renamed");
    until([200; 3], &|| ());
    scene.call(&scene.zoe, "acme/echo", &echo()).ok();

    // Code without a model still runs, so the host accepts calls.
    let plain = scene.host.publish(&scene.umbrella, &system_tests::plugin("echo"));
    scene.host.agree(&scene.umbrella, &scene.zoe, &plain, vec![terms("echo-u8")]);
    std::fs::rename(&program, &away).expect("renamed");
    until([200, 503, 503], &kill_and_call);
    let call = scene.host.call(&scene.zoe, "umbrella/echo/echo-u8").json(r#"{"v":7}"#).send();
    assert_eq!(call.status, 200, "{}", call.text());
}

#[test]
fn a_worker_has_no_environment_no_file_and_no_socket_of_the_host() {
    let scene = Tenants::new(|_| {});
    scene.model(&scene.acme, "echo", byte_identity());
    scene.call(&scene.zoe, "acme/echo", &echo()).ok();
    let worker = scene.workers()[0];
    let read = |what: &str| std::fs::read(format!("/proc/{worker}/{what}")).expect("readable");
    let environment = read("environ");
    assert!(environment.iter().all(|byte| *byte == 0), "{}", String::from_utf8_lossy(&environment));
    let status = String::from_utf8(read("status")).expect("text");
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    let data = scene.host.host().config().data.dir.display().to_string();
    for entry in std::fs::read_dir(format!("/proc/{worker}/fd")).expect("readable") {
        let target = std::fs::read_link(entry.expect("readable").path()).expect("a link");
        let target = target.display().to_string();
        let known = ["socket:", "pipe:", "/memfd:hospes", "/dev/null"]
            .iter()
            .any(|kind| target.starts_with(kind));
        assert!(known && !target.contains(&data), "{target}");
    }
    let missing = &scene.host.host().inference().confinement().missing;
    assert!(!missing.iter().any(|what| what.starts_with("threads")), "{missing:?}");
    let sockets = std::fs::read_dir(format!("/proc/{worker}/fd")).expect("readable").count();
    assert!(sockets < 20, "{sockets} open files");
}

#[test]
fn a_worker_is_in_a_control_group_of_its_own_where_the_host_makes_them_and_it_says_so_where_not() {
    let scene = Tenants::new(|_| {});
    scene.model(&scene.acme, "echo", byte_identity());
    scene.call(&scene.zoe, "acme/echo", &echo()).ok();
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", scene.workers()[0]));
    let groups = groups.expect("readable");
    let is_in_one = groups.contains(&format!("/hospes-worker-{}-", std::process::id()));
    let status = scene.host.operator("GET", "/status").send().ok().json();
    let missing = status["workers"]["confinement_missing"].as_array().expect("a list");
    let why = missing.iter().find(|what| what.as_str().is_some_and(|w| w.starts_with("cgroup: ")));
    assert_eq!(is_in_one, why.is_none(), "{groups} {missing:?}");
}

/// A malicious worker reports what it could reach as the reason for not loading a model.
#[test]
fn a_worker_that_is_an_attacker_s_reaches_nothing() {
    let scene = Tenants::new(|config| config.inference.worker_program = Some(hostile_worker()));
    let bundle = model_bundle("spy", byte_identity(), Some(BackendKind::Onnxruntime));
    let refused = scene.host.try_publish(&scene.acme, &scene.acme.sign(&bundle));
    let problem = refused.problem(422, "bundle-refused");
    let detail = problem["detail"].as_str().expect("text");
    assert!(detail.contains("reached: []"), "{detail}");
    assert!(detail.contains("tried: 24"), "{detail}");
    assert_eq!(scene.host.get("/healthz").send().status, 200);
}

#[test]
fn garbage_of_a_worker_is_an_error_of_the_call_and_never_of_the_host() {
    for garbage in ["shape", "length", "count", "type", "twice", "unknown", "bytes", "silence"] {
        let scene = Tenants::new(|config| {
            // Long enough for a trial inference that is backed off twice.
            config.sandbox.deadline = Duration::from_secs(2);
            config.inference.worker_program = Some(hostile_worker());
        });
        // The hostile worker finds its instructions in the model's bytes.
        let model = |word: &str| documented(&byte_identity(), &format!("hostile:{word};"));
        // The trial inference before it goes live fails, so it does not go live.
        let bundle = model_bundle("liar", model(garbage), Some(BackendKind::Onnxruntime));
        let tried = scene.host.try_publish(&scene.umbrella, &scene.umbrella.sign(&bundle));
        let said = tried.problem(422, "bundle-refused")["detail"].to_string();
        let wanted = match garbage {
            "silence" | "unknown" => "it is not computed within 2 s",
            _ => "its computations are lost for every input",
        };
        assert!(said.contains(wanted), "{garbage}: {said}");

        // The first two inferences are correct.
        scene.model(&scene.acme, "liar", model(&format!("2-{garbage}")));
        let began = Instant::now();
        // One of the two may remain if there was only one trial inference.
        let calls = (0..3).map(|_| scene.call(&scene.zoe, "acme/liar", &echo()));
        let reply = calls.into_iter().find(|reply| reply.status != 200).expect("garbage");
        // An answer to an unknown job, or no answer, is ignored, so the call waits until its
        // deadline.
        let (status, code, result) = match garbage {
            "unknown" | "silence" => (504, "plugin-deadline", "failed: deadline"),
            _ => (502, "plugin-failed", "failed: computation-lost"),
        };
        reply.problem(status, code);
        assert!(began.elapsed() < Duration::from_secs(8), "{garbage}: {:?}", began.elapsed());
        assert_eq!(scene.receipt(&scene.zoe, &reply)["result"], result, "{garbage}");
        assert_eq!(scene.host.get("/healthz").send().status, 200, "{garbage}");
    }
}

#[test]
fn a_model_that_loads_as_gigabytes_is_refused_by_its_memory_s_limit() {
    let scene = Tenants::new(|config| config.inference.worker_memory_bytes_max = 512 << 20);
    scene.model(&scene.umbrella, "echo", byte_identity());
    let bundle = model_bundle("bomb", case("const-bomb.onnx"), Some(BackendKind::Onnxruntime));
    let refused = scene.host.try_publish(&scene.acme, &scene.acme.sign(&bundle));
    refused.problem(422, "bundle-refused");
    scene.call(&scene.zoe, "umbrella/echo", &echo()).ok();
}

#[test]
fn compiling_ends_at_its_memory_and_at_its_time() {
    let publish = |settings: fn(&mut Config)| {
        let host = TestHost::builder().config(settings).start();
        let acme = host.party("acme");
        let refused = host.try_publish(&acme, &acme.sign(&system_tests::plugin("echo")));
        let problem = refused.problem(422, "bundle-refused");
        assert_eq!(host.get("/healthz").send().status, 200);
        problem["detail"].as_str().expect("text").to_owned()
    };
    let detail = publish(|config| config.sandbox.compile_memory_bytes_max = 4 << 20);
    assert!(detail.contains("the compiler was ended by"), "{detail}");
    assert!(detail.contains("`sandbox.compile_memory_bytes_max`"), "{detail}");
    let detail = publish(|config| config.sandbox.compile_timeout = Duration::from_millis(1));
    assert!(detail.contains("did not compile within"), "{detail}");
}

#[test]
fn what_the_kernel_does_not_keep_from_workers_is_in_the_status_and_in_the_log() {
    let folder = tempfile::tempdir().expect("a directory");
    let (data, log) = (folder.path().join("data"), folder.path().join("log"));
    let serving = HostProcess::serving(&data);
    let mut command = Command::new(without_landlock());
    command.arg(serving.get_program()).args(serving.get_args());
    command.env_remove("RUST_LOG").stderr(std::fs::File::create(&log).expect("made"));
    let host = HostProcess::ready(command);
    let token = std::fs::read_to_string(data.join("operator.token")).expect("written");
    let status = Request::new("GET", format!("{}/status", host.operator));
    let status = status.bearer(token.trim()).send().ok().json();
    let missing = status["workers"]["confinement_missing"].as_array().expect("a list");
    let is_landlock =
        |line: &Value| line.as_str().is_some_and(|line| line.starts_with("landlock: "));
    assert!(missing.iter().any(is_landlock), "{missing:?}");
    // All other confinement still works.
    let others = ["seccomp:", "rlimits:", "files:", "user:", "nice:"];
    let lacks = |line: &Value| others.iter().any(|what| line.to_string().contains(what));
    assert!(!missing.iter().any(lacks), "{missing:?}");
    let text = std::fs::read_to_string(&log).expect("it exists");
    let warned = text.lines().filter(|line| line.contains("workers are confined less"));
    for line in missing {
        let line = line.as_str().expect("text");
        assert!(warned.clone().any(|warned| warned.contains(line)), "no {line:?} in:\n{text}");
    }
    drop(host);
}
