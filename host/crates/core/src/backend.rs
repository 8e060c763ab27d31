//! The backends that compute models, and the devices that models run on. What each backend does is in the table of `hospes-inference`,
//! which alone knows how to load one.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A backend. It has the same name in manifests, settings, records and responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendKind {
    Onnxruntime,
    /// The memory-safe one: models never reach a native parser.
    Tract,
}

impl BackendKind {
    /// All of them, in the order of the enum.
    pub const ALL: [Self; 2] = [Self::Onnxruntime, Self::Tract];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Onnxruntime => "onnxruntime",
            Self::Tract => "tract",
        }
    }

    /// The backend of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a model must run. If the host lacks the device, that is an error, never a silent fallback.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    Cpu,
    Gpu,
    /// No preference: the host's operator chooses.
    #[default]
    Any,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "CPU",
            Self::Gpu => "GPU",
            Self::Any => "device",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_has_one_name() {
        for (place, kind) in BackendKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place, "all are listed, in their order");
            let json = serde_json::to_string(&kind).expect("JSON");
            assert_eq!(json, format!("\"{kind}\""));
            assert_eq!(serde_json::from_str::<BackendKind>(&json).expect("a name"), kind);
            assert_eq!(BackendKind::named(kind.name()), Some(kind));
        }
        assert_eq!(BackendKind::named("Tract"), None);
    }
}
