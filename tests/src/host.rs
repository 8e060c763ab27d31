//! A whole host in this process, on loopback and with its own data directory.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hospes::agreement::Permission;
use hospes::api::Api;
use hospes::causes::in_a_line;
use hospes::clock::Clock;
use hospes::config::Config;
use hospes::host::Host;
use hospes::id::{Digest, ModelName};
use hospes::start::start;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::bundles::built;
use crate::{HostProcess, Party, Reply, Request};

/// A host being configured.
pub struct Builder {
    config: Config,
    clock: Clock,
    threads: usize,
    data: Option<Arc<TempDir>>,
}

impl Builder {
    /// Changes the settings.
    #[must_use]
    pub fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Makes the host use `clock`.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Serves with this many threads.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Uses the data of a host that was stopped.
    #[must_use]
    pub fn data(mut self, data: Arc<TempDir>) -> Self {
        self.data = Some(data);
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(self) -> TestHost {
        self.try_start().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts it, or returns the error with its causes.
    pub fn try_start(mut self) -> Result<TestHost, String> {
        let data = self.data.unwrap_or_else(|| Arc::new(TempDir::new().expect("a directory")));
        self.config.data.dir = data.path().join("data");
        let runtime = hospes::start::runtime(self.threads.try_into().ok()).expect("threads");
        let clock = self.clock;
        let (host, api) = runtime.block_on(async {
            let host = start(self.config, clock).await.map_err(|error| in_a_line(&error))?;
            let api = Api::bind(Arc::clone(&host)).await.map_err(|error| in_a_line(&error))?;
            Ok::<_, String>((host, api))
        })?;
        runtime.block_on(host.described());
        let address = api.address().expect("bound");
        let operator = api.operator_address().expect("bound");
        let (stop, stopped) = oneshot::channel::<()>();
        let stopping = async {
            let _ = stopped.await;
        };
        let serving = runtime.spawn(api.serve(stopping, std::future::pending()));
        Ok(TestHost {
            running: Some(Running { runtime, serving, stop, host }),
            address,
            operator,
            data,
        })
    }
}

struct Running {
    runtime: Runtime,
    serving: tokio::task::JoinHandle<()>,
    stop: oneshot::Sender<()>,
    host: Arc<Host>,
}

/// A running host. It is stopped when dropped.
pub struct TestHost {
    running: Option<Running>,
    address: SocketAddr,
    operator: SocketAddr,
    data: Arc<TempDir>,
}

impl TestHost {
    /// A host with defaults that suit tests: free ports, the ONNX Runtime that the Makefile
    /// installed, few sandboxes.
    pub fn builder() -> Builder {
        let mut config = Config::default();
        config.api.listen.set_port(0);
        config.api.operator_listen.set_port(0);
        config.api.drain_delay = Duration::ZERO;
        config.api.drain_timeout = Duration::from_secs(5);
        config.admission.slots_max = 8.try_into().expect("not zero");
        config.receipt.flush_interval = Duration::from_millis(50);
        config.inference.onnxruntime_library = Some(Self::onnxruntime());
        config.inference.worker_program = Some(HostProcess::program());
        Builder { config, clock: Clock::System, threads: 2, data: None }
    }

    /// Starts a host with these defaults.
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// ONNX Runtime's library as the Makefile installed it.
    ///
    /// # Panics
    /// If it does not exist.
    pub fn onnxruntime() -> PathBuf {
        let folder = built("runtime/runtime");
        let installed = std::fs::read_dir(&folder).expect("readable");
        let mut libraries =
            installed.filter_map(|entry| Some(entry.ok()?.path().join("libonnxruntime.so")));
        libraries.find(|path| path.is_file()).expect("`make test` installs it first")
    }

    /// Shuts it down in order and returns its data.
    pub fn stop(mut self) -> Arc<TempDir> {
        self.end();
        Arc::clone(&self.data)
    }

    fn end(&mut self) {
        if let Some(Running { runtime, serving, stop, host }) = self.running.take() {
            let _ = stop.send(());
            let _ = runtime.block_on(serving);
            host.close();
            drop(host);
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }

    /// The host itself, for state that no route shows.
    pub fn host(&self) -> &Host {
        &self.running.as_ref().expect("it runs").host
    }

    /// The URL of the operator's listener, for the command line.
    pub fn operator_url(&self) -> String {
        format!("http://{}", self.operator)
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.data.path().join("data")
    }

    /// The address of the public listener.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of the operator's listener.
    pub fn operator_address(&self) -> SocketAddr {
        self.operator
    }

    /// A GET request to the public listener.
    pub fn get(&self, path: &str) -> Request {
        Request::new("GET", format!("http://{}{path}", self.address))
    }

    /// A POST request to the public listener.
    pub fn post(&self, path: &str) -> Request {
        Request::new("POST", format!("http://{}{path}", self.address))
    }

    /// A request to the operator's listener, with its token.
    pub fn operator(&self, method: &'static str, path: &str) -> Request {
        let token = std::fs::read_to_string(self.data.path().join("data/operator.token"));
        self.operator_with(token.expect("the host has written it").trim(), method, path)
    }

    /// The same with another token.
    pub fn operator_with(&self, token: &str, method: &'static str, path: &str) -> Request {
        Request::new(method, format!("http://{}{path}", self.operator)).bearer(token)
    }

    /// Opens an account for the party with this name.
    pub fn party(&self, name: &str) -> Party {
        let key = Party::key_of(name);
        let wanted = serde_json::json!({"name": name, "party": key.party()});
        let opened =
            self.operator("POST", "/accounts").json(&wanted.to_string()).send().ok().json();
        let api_key = opened["key"].as_str().expect("a key").to_owned();
        Party { name: name.into(), key, api_key }
    }

    /// Signs a bundle and publishes it. Returns its model and digest.
    #[track_caller]
    pub fn publish(&self, publisher: &Party, bundle: &[u8]) -> (ModelName, Digest) {
        let published = self.try_publish(publisher, &publisher.sign(bundle)).ok().json();
        let text = |member: &str| published[member].as_str().expect("text").to_owned();
        (text("model").parse().expect("a model"), text("digest").parse().expect("a digest"))
    }

    /// Publishes exactly these bytes.
    pub fn try_publish(&self, publisher: &Party, bytes: &[u8]) -> Reply {
        self.post("/api/bundles").bearer(&publisher.api_key).octets(bytes).send()
    }

    /// Offers a published bundle and signs for both parties. Returns the agreement.
    #[track_caller]
    pub fn agree(
        &self,
        publisher: &Party,
        consumer: &Party,
        (model, bundle): &(ModelName, Digest),
        terms: Vec<Permission>,
    ) -> Digest {
        let offer = publisher.offer(model, *bundle, terms);
        self.post("/api/offers").bearer(&publisher.api_key).body(offer.to_bytes()).send().ok();
        let mut proposal = consumer.accept(&offer);
        proposal.add_signature(&publisher.key).expect("the publisher");
        let agreed = self.submit(consumer, &proposal.to_bytes()).ok().json();
        assert_eq!(agreed["state"], "active", "{agreed}");
        *proposal.id()
    }

    /// Submits an agreement.
    pub fn submit(&self, party: &Party, envelope: &[u8]) -> Reply {
        self.post("/api/agreements").bearer(&party.api_key).body(envelope).send()
    }

    /// A call of `path` (`publisher/model/function`) by `consumer`.
    pub fn call(&self, consumer: &Party, path: &str) -> Request {
        self.post(&format!("/{path}")).bearer(&consumer.api_key)
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        self.end();
    }
}
