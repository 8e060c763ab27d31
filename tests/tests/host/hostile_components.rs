//! Harmful components are refused, or only their own calls fail: with the expected refusal or
//! failure and receipt, before the deadline, and without slowing the host.

use std::time::{Duration, Instant};

use system_tests::hostile::{Expect, Hostile, generated, written};
use system_tests::{Party, Reply, TestHost, plugin, terms};

const DEADLINE: Duration = Duration::from_secs(1);

/// How long a call may run beyond its deadline.
const GRACE: Duration = Duration::from_secs(1);

/// The longest time without a response from the host.
const SILENCE: Duration = Duration::from_millis(500);

struct Scene {
    host: TestHost,
    acme: Party,
    zoe: Party,
}

impl Scene {
    fn new() -> Self {
        let host = TestHost::builder()
            .config(|config| {
                config.sandbox.deadline = DEADLINE;
                config.sandbox.compile_timeout = Duration::from_secs(20);
                config.sandbox.epoch_tick = Duration::from_millis(1);
                config.admission.slots_max = 2.try_into().expect("not zero");
            })
            .start();
        let (acme, zoe) = (host.party("acme"), host.party("zoe"));
        let scene = Self { host, acme, zoe };
        let published = scene.host.publish(&scene.acme, &plugin("echo"));
        scene.host.agree(&scene.acme, &scene.zoe, &published, vec![terms("echo-u8")]);
        scene
    }

    /// Tries the component. Returns what went wrong, if anything.
    fn judge(&self, hostile: &Hostile) -> Result<(), String> {
        let packed = match (hostile.bundle(), &hostile.expect) {
            (Ok(packed), _) => packed,
            // A component that cannot be packed never reaches a host.
            (Err(error), Expect::Refused(said)) => {
                return contains(&hospes::causes::in_a_line(&error), said);
            }
            (Err(error), _) => return Err(hospes::causes::in_a_line(&error)),
        };
        let published = self.host.try_publish(&self.acme, &self.acme.sign(&packed));
        self.is_well()?;
        let what = published.json();
        match (&hostile.expect, published.status) {
            (Expect::Refused(said), 422) => {
                if what["type"] != "urn:hospes:problem:bundle-refused" {
                    return Err(format!("{what}"));
                }
                contains(what["detail"].as_str().unwrap_or_default(), said)
            }
            (Expect::Refused(_), status) => Err(format!("{status}: {what}")),
            (_, 201) => self.called(hostile, &what),
            (_, status) => Err(format!("not published, {status}: {what}")),
        }
    }

    fn called(&self, hostile: &Hostile, published: &serde_json::Value) -> Result<(), String> {
        let model = published["model"].as_str().expect("a model").parse().expect("a name");
        let digest = published["digest"].as_str().expect("a digest").parse().expect("a digest");
        self.host.agree(&self.acme, &self.zoe, &(model, digest), vec![terms("run")]);
        let began = Instant::now();
        let path = format!("acme/{}/run", hostile.name);
        let reply = self.host.call(&self.zoe, &path).json(&hostile.body).send();
        let took = began.elapsed();
        if took > DEADLINE + GRACE {
            return Err(format!("the call took {took:?}"));
        }
        self.is_well()?;
        let receipt = self.receipt(&reply)?;
        match &hostile.expect {
            Expect::Answers if reply.status == 200 => same(&receipt["result"], "answered"),
            Expect::Fails(status, kind, failure) if reply.status == *status => {
                let problem = reply.json();
                same(&problem["type"], &format!("urn:hospes:problem:{kind}"))?;
                same(&problem["failure"], failure)?;
                same(&receipt["result"], &format!("failed: {failure}"))
            }
            _ => Err(format!("{}: {}", reply.status, reply.text())),
        }
    }

    fn receipt(&self, reply: &Reply) -> Result<serde_json::Value, String> {
        let call = reply.header("hospes-receipt").ok_or("no receipt")?.to_owned();
        let all = self.host.get("/api/receipts").bearer(&self.zoe.api_key).send().ok().json();
        let all = all["receipts"].as_array().cloned().unwrap_or_default();
        let mut own = all.into_iter().filter(|receipt| receipt["call"] == call.as_str());
        let receipt = own.next().ok_or("the receipt is not listed")?;
        if own.next().is_some() {
            return Err("there are two receipts for one call".into());
        }
        match receipt["used"].as_u64() {
            Some(1) => Ok(receipt),
            used => Err(format!("the call counts {used:?}")),
        }
    }

    /// Checks that the host responds at once, other plugins work, and all sandboxes are free.
    fn is_well(&self) -> Result<(), String> {
        let began = Instant::now();
        self.host.get("/healthz").send().ok();
        if began.elapsed() > SILENCE {
            return Err(format!("the host did not respond for {:?}", began.elapsed()));
        }
        let reply = self.host.call(&self.zoe, "acme/echo/echo-u8").json(r#"{"v":7}"#).send();
        same(&reply.text().into(), "7")?;
        let status = self.host.operator("GET", "/status").send().ok().json();
        same(&status["sandboxes_free"].to_string().into(), "2")
    }
}

fn same(found: &serde_json::Value, wanted: &str) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{found} is not {wanted}")) }
}

fn contains(text: &str, said: &str) -> Result<(), String> {
    if text.contains(said) { Ok(()) } else { Err(format!("`{said}` is not in: {text}")) }
}

fn judge_all(components: &[Hostile]) {
    let scene = Scene::new();
    let mut wrong = Vec::new();
    for hostile in components {
        if let Err(what) = scene.judge(hostile) {
            wrong.push(format!("{}: {what}", hostile.name));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), components.len(), wrong.join("\n"));
}

#[test]
fn components_that_are_written_do_no_harm() {
    let components = written();
    assert!(components.len() >= 60, "{}", components.len());
    judge_all(&components);
}

#[test]
fn components_that_are_made_do_no_harm() {
    judge_all(&generated());
}

#[test]
fn a_component_that_asks_for_a_billion_instances_is_refused_before_it_is_compiled() {
    let scene = Scene::new();
    let all = generated();
    for name in ["nested-instances", "nested-nothing"] {
        let hostile =
            all.iter().find(|hostile| hostile.name == name).expect("a component of this name");
        let began = Instant::now();
        scene.judge(hostile).expect("refused");
        assert!(began.elapsed() < Duration::from_secs(2), "{name} took {:?}", began.elapsed());
        // Nothing of the component is stored.
        let page = scene.host.get(&format!("/acme/{name}")).bearer(&scene.acme.api_key).send();
        page.problem(404, "not-found");
    }
}
