//! How much memory a loaded model takes: the difference that loading it made to its process.

use std::num::NonZeroUsize;

use crate::graph::Held;

/// A process's private bytes and mappings at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    private_bytes: u64,
    mappings: u64,
}

impl Memory {
    /// Reads a process's memory; `None` if the kernel does not show it. Blocks.
    pub(super) fn of(process: u32) -> Option<Self> {
        let totals = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
        let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).ok()?;
        let private_bytes = private(&totals)?;
        Some(Self { private_bytes, mappings: maps.lines().count() as u64 })
    }

    /// What was added since `before`. Computations of other models at the same time blur it.
    pub(super) fn since(&self, before: &Self, shared_bytes: u64) -> Held {
        Held {
            private_bytes: self.private_bytes.saturating_sub(before.private_bytes),
            shared_bytes,
            mappings: self.mappings.saturating_sub(before.mappings),
        }
    }
}

/// The private bytes of `/proc/PID/smaps_rollup`.
fn private(totals: &str) -> Option<u64> {
    let fields = ["Private_Clean:", "Private_Dirty:", "Private_Hugetlb:"];
    let kilobytes = |field: &str| {
        let line = totals.lines().find_map(|line| line.strip_prefix(field))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    fields.into_iter().map(kilobytes).sum::<Option<u64>>().map(|kilobytes| kilobytes << 10)
}

/// An estimate for a model whose process cannot be measured: each thread's session holds the weights, and packs most of them.
pub(super) fn estimate(model_bytes: usize, threads: NonZeroUsize) -> Held {
    let copies = threads.get().saturating_mul(2);
    Held {
        private_bytes: (model_bytes as u64).saturating_mul(copies as u64),
        shared_bytes: 0,
        mappings: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_totals_are_added_up_in_bytes() {
        let totals =
            "Rss:  9 kB\nPrivate_Clean:  4 kB\nPrivate_Dirty:  8 kB\nPrivate_Hugetlb: 0 kB\n";
        assert_eq!(private(totals), Some(12 << 10));
        assert_eq!(private("Private_Clean: 4 kB"), None, "a kernel that does not show all");
    }

    #[test]
    fn what_a_process_allocates_is_seen_from_outside() {
        let own = std::process::id();
        let before = Memory::of(own).expect("this process may read itself");
        let kept = std::hint::black_box(vec![1_u8; 64 << 20]);
        let after = Memory::of(own).expect("as before");
        let footprint = after.since(&before, 7);
        assert!(footprint.private_bytes >= 32 << 20, "{footprint:?}");
        assert_eq!(footprint.shared_bytes, 7);
        drop(kept);
    }
}
