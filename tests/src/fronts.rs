//! A host with models of tensors, for the fronts that serve them.

use hospes::config::Config;
use hospes::tensor::DataType;

use crate::{Party, TestHost, batched_bundle, identity, model_bundle, simple, terms};

/// A host where `acme` has published the model `simple` and an identity of each type, `identity-fp32` and so on, and `zoe` may
/// call them all. Bare names mean models of `acme`.
pub struct Tensors {
    pub host: TestHost,
    pub acme: Party,
    pub zoe: Party,
}

impl Tensors {
    pub fn start() -> Self {
        Self::configured(|_| ())
    }

    /// With other settings.
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
            // ONNX Runtime computes nothing with BF16, but passes it on.
            let name = format!("identity-{}", ty.name().to_lowercase());
            fronts.publish(&model_bundle(&name, identity(ty, 1), None));
        }
        fronts.publish(&model_bundle("scalar", identity(DataType::F32, 0), None));
        fronts
    }

    fn publish(&self, bundle: &[u8]) {
        let published = self.host.publish(&self.acme, bundle);
        self.host.agree(&self.acme, &self.zoe, &published, vec![terms("infer")]);
    }
}
