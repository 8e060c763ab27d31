//! Which backend may compute, as settings say it: `auto`, or the name of one.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use hospes_core::backend::BackendKind;

/// Which backend computes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BackendChoice {
    /// What the bundle asks for, else the first of the host's that is usable.
    #[default]
    Auto,
    /// This one, for every model.
    Only(BackendKind),
}

const AUTO: &str = "auto";

/// What settings may say.
const NAMES: [&str; 1 + BackendKind::ALL.len()] = {
    let mut names = [AUTO; 1 + BackendKind::ALL.len()];
    let mut at = 0;
    while at < BackendKind::ALL.len() {
        names[at + 1] = BackendKind::ALL[at].name();
        at += 1;
    }
    names
};

impl BackendChoice {
    /// The only backend that may compute, if one was named.
    pub fn only(self) -> Option<BackendKind> {
        match self {
            Self::Auto => None,
            Self::Only(kind) => Some(kind),
        }
    }
}

impl From<BackendKind> for BackendChoice {
    fn from(kind: BackendKind) -> Self {
        Self::Only(kind)
    }
}

impl Serialize for BackendChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.only().map_or(AUTO, BackendKind::name))
    }
}

impl<'de> Deserialize<'de> for BackendChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        if name == AUTO {
            return Ok(Self::Auto);
        }
        let named = BackendKind::named(&name).map(Self::Only);
        named.ok_or_else(|| de::Error::unknown_variant(&name, &NAMES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_name_one_backend_or_none() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Settings {
            backend: BackendChoice,
        }
        let all = BackendKind::ALL.map(BackendChoice::Only);
        for backend in all.into_iter().chain([BackendChoice::Auto]) {
            let text = toml::to_string(&Settings { backend }).expect("TOML");
            assert_eq!(toml::from_str(&text), Ok(Settings { backend }), "{text}");
        }
        let error = toml::from_str::<Settings>("backend = \"cuda\"").expect_err("there is none");
        let wanted = "unknown variant `cuda`, expected one of `auto`, `onnxruntime`, `tract`";
        assert!(error.to_string().contains(wanted), "{error}");
    }
}
