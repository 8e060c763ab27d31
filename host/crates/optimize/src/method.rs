//! The ways in which a model may become smaller or faster, by name.

use std::fmt;
use std::str::FromStr;

use hospes_onnx::Model;

use crate::passes::{self, Changed, Choice, Dynamic};
use crate::quantise::{FULL, SAFE};

/// How much is pruned: what a net for pictures survives by magnitude, and not at random.
const PRUNED: f64 = 0.5;

/// The seed of weights that are pruned at random.
const SEED: u64 = 7;

/// A way to change a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    Graph,
    Store8,
    Dynamic8,
    Dynamic8Safe,
    Static8,
    Static8Safe,
    Bits4,
    Bits8,
    Prune,
    /// As other tools do by default. Tried only if it is named.
    Dynamic8All,
    /// Tried only if it is named.
    PruneRandom,
}

/// There is no method of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a method: name some of {all}", all = Method::ALL.map(Method::name).join(", "))]
pub struct UnknownMethod(String);

impl Method {
    /// All of them, in the order in which they are tried.
    pub const ALL: [Self; 11] = [
        Self::Graph,
        Self::Store8,
        Self::Dynamic8,
        Self::Dynamic8Safe,
        Self::Static8,
        Self::Static8Safe,
        Self::Bits4,
        Self::Bits8,
        Self::Prune,
        Self::Dynamic8All,
        Self::PruneRandom,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Graph => "graph",
            Self::Store8 => "store8",
            Self::Dynamic8 => "dynamic8",
            Self::Dynamic8Safe => "dynamic8-safe",
            Self::Static8 => "static8",
            Self::Static8Safe => "static8-safe",
            Self::Bits4 => "bits4",
            Self::Bits8 => "bits8",
            Self::Prune => "prune",
            Self::Dynamic8All => "dynamic8-all",
            Self::PruneRandom => "prune-random",
        }
    }

    /// Whether it is tried if nobody names methods. The others are known to lose, and are here to be measured.
    pub fn is_usual(self) -> bool {
        !matches!(self, Self::Dynamic8All | Self::PruneRandom)
    }

    /// Whether answers may differ by more than the rounding of floats.
    pub fn is_lossy(self) -> bool {
        self != Self::Graph
    }

    /// The largest stored weight, if it needs calibration.
    pub fn calibrated(self) -> Option<i8> {
        match self {
            Self::Static8 => Some(FULL),
            Self::Static8Safe => Some(SAFE),
            _ => None,
        }
    }

    /// Changes a model that the clean-up has passed. `None` also for methods that need calibration.
    ///
    /// # Errors
    /// [`passes::PassError`].
    pub fn apply(self, model: &Model) -> Changed {
        let dynamic = Dynamic::default();
        match self {
            Self::Graph | Self::Static8 | Self::Static8Safe => Ok(None),
            Self::Store8 => passes::store8(model),
            Self::Dynamic8 => passes::dynamic8(model, dynamic),
            Self::Dynamic8Safe => passes::dynamic8(model, Dynamic { max: SAFE, ..dynamic }),
            Self::Dynamic8All => {
                let all = Dynamic { convolutions: true, per_channel: false, ..dynamic };
                passes::dynamic8(model, all)
            }
            Self::Bits4 => passes::bits(model, 4),
            Self::Bits8 => passes::bits(model, 8),
            Self::Prune => passes::prune(model, PRUNED, Choice::Magnitude),
            Self::PruneRandom => passes::prune(model, PRUNED, Choice::Random(SEED)),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(text: &str) -> Result<Self, UnknownMethod> {
        let named = Self::ALL.into_iter().find(|method| method.name() == text);
        named.ok_or_else(|| UnknownMethod(hospes_data::excerpt(text)))
    }
}
