//! A host with tensor models, for the front ends that serve them.

use std::process::Command;
use std::time::Duration;

use hospes::config::Config;
use hospes::tensor::DataType;

use crate::{Party, TestHost, batched_bundle, built, identity, model_bundle, simple, terms};

/// A host where `acme` has published the model `simple` and an identity for each type
/// (`identity-fp32` and so on), and `zoe` may call all of them. Names without a publisher refer to
/// models of `acme`.
pub struct Tensors {
    pub host: TestHost,
    pub acme: Party,
    pub zoe: Party,
}

impl Tensors {
    pub fn start() -> Self {
        Self::configured(|_| ())
    }

    /// Starts one with other settings.
    pub fn configured(change: impl FnOnce(&mut Config)) -> Self {
        let host = TestHost::builder().config(|config| {
            config.api.default_publisher = Some("acme".parse().expect("a name"));
            change(config);
        });
        let host = host.start();
        let (acme, zoe) = (host.party("acme"), host.party("zoe"));
        let fronts = Self { host, acme, zoe };
        fronts.publish(&batched_bundle("simple", simple()));
        for ty in DataType::ALL {
            // ONNX Runtime cannot compute BF16, but it can pass it through.
            let name = format!("identity-{}", ty.name().to_lowercase());
            fronts.publish(&model_bundle(&name, identity(ty, 1), None));
        }
        fronts.publish(&model_bundle("scalar", identity(DataType::F32, 0), None));
        fronts
    }

    /// The median time of a tiny inference through Triton's `perf_analyzer`, one request at a time.
    ///
    /// # Panics
    /// If it fails or prints something else.
    pub fn perf_analyzer(&self, protocol: &str) -> Duration {
        let output = Command::new(built("clients/perf/perf_analyzer"))
            .env("LD_LIBRARY_PATH", built("clients/perf"))
            .args(["-m", "acme/simple", "-p", "300", "--max-trials", "20", "-s", "90"])
            .args(["-i", protocol, "-u", &self.host.address().to_string()])
            .args(["-H", &format!("authorization: Bearer {}", self.zoe.api_key)])
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let micros = said.split("p50 latency: ").nth(1).and_then(|rest| rest.split(' ').next());
        let micros =
            micros.unwrap_or_else(|| panic!("{said}{}", String::from_utf8_lossy(&output.stderr)));
        Duration::from_micros(micros.parse().expect("a number"))
    }

    fn publish(&self, bundle: &[u8]) {
        let published = self.host.publish(&self.acme, bundle);
        self.host.agree(&self.acme, &self.zoe, &published, vec![terms("infer")]);
    }
}
