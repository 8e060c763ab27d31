//! What a guest may reach outside its own memory, as named in agreements.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Capability {
    /// Sockets and outgoing HTTP. This host never grants it.
    Network,
    /// A file system. Guests see an empty one at most.
    Storage,
    /// The time of day, a monotonic clock.
    Clock,
    /// Random numbers.
    Random,
    /// Arguments and environment variables, which are empty.
    Env,
    /// Lines for the operator's log: standard output and error, `hospes:plugin/logging`.
    Stdout,
}

impl Capability {
    /// Every capability.
    pub const ALL: [Capability; 6] = [
        Capability::Network,
        Capability::Storage,
        Capability::Clock,
        Capability::Random,
        Capability::Env,
        Capability::Stdout,
    ];

    /// The name in agreements.
    pub const fn name(self) -> &'static str {
        match self {
            Capability::Network => "network",
            Capability::Storage => "storage",
            Capability::Clock => "clock",
            Capability::Random => "random",
            Capability::Env => "env",
            Capability::Stdout => "stdout",
        }
    }

    /// The capability of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|capability| capability.name() == name)
    }

    /// The capability that an imported interface grants; `None` if it grants nothing.
    pub fn of_import(interface: &str) -> Option<Self> {
        let starts = |prefix| interface.starts_with(prefix);
        if starts("wasi:sockets/")
            || starts("wasi:http/outgoing-handler")
            || starts("wasi:http/client")
        {
            Some(Capability::Network)
        } else if starts("wasi:filesystem/") {
            Some(Capability::Storage)
        } else if starts("wasi:clocks/") {
            Some(Capability::Clock)
        } else if starts("wasi:random/") {
            Some(Capability::Random)
        } else if starts("wasi:cli/stdout")
            || starts("wasi:cli/stderr")
            || starts("hospes:plugin/logging")
        {
            Some(Capability::Stdout)
        } else if starts("wasi:cli/environment") || starts("wasi:cli/stdin") {
            Some(Capability::Env)
        } else {
            None
        }
    }
}

/// A set of capabilities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities(u8);

impl Capabilities {
    /// Adds one.
    pub fn insert(&mut self, capability: Capability) {
        self.0 |= 1 << capability as u8;
    }

    /// Whether one is in the set.
    pub fn contains(self, capability: Capability) -> bool {
        self.0 & (1 << capability as u8) != 0
    }

    /// The intersection.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        let mut set = Self::default();
        capabilities.into_iter().for_each(|capability| set.insert(capability));
        set
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = Capability::ALL.into_iter().filter(|one| self.contains(*one));
        match names.next() {
            None => f.write_str("none"),
            Some(first) => {
                f.write_str(first.name())?;
                names.try_for_each(|name| write!(f, ", {}", name.name()))
            }
        }
    }
}
