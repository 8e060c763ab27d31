//! Which backends there are to compute models, and what models run on. What a backend does is told by its row in the table of
//! `hospes-inference`, which alone knows how one is loaded.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A backend. Its name is the same in manifests, settings, records and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendKind {
    Onnxruntime,
    /// The memory-safe one: no native parser sees a model.
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

/// Where a model must run. A device that a host lacks is an error there, never a silent fallback.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    Cpu,
    Gpu,
    /// The publisher does not mind: the host's operator chooses.
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
