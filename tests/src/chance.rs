//! Reproducible random input for storms of malformed requests, and ways to corrupt bytes.

/// Digits and punctuation that break parsers.
const SPLINTERS: [&[u8]; 16] = [
    b"18446744073709551616",
    b"-1",
    b"1e999",
    b"0.1",
    b"null",
    b"[[[[[[[[",
    b"{\"",
    b"\"\\ud800\"",
    b"\xff\xfe",
    b"\0",
    b"-0",
    b"9007199254740993",
    b"4294967296",
    b"true",
    b"\"NaN\"",
    b",,",
];

/// xorshift64: good enough, and reproducible.
pub struct Chance(pub u64);

impl Chance {
    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "an iterator would end")]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`, or 0 if `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// Corrupts bytes in one to three places.
    pub fn break_it(&mut self, bytes: &mut Vec<u8>) {
        let chance = self;
        for _ in 0..=chance.below(3) {
            let at = chance.below(bytes.len() + 1);
            match chance.below(6) {
                0 if at < bytes.len() => bytes[at] = chance.next() as u8,
                1 => bytes.truncate(at),
                2 => {
                    let splinter = SPLINTERS[chance.below(SPLINTERS.len())];
                    bytes.splice(at..at, splinter.iter().copied());
                }
                3 => {
                    let end = (at + chance.below(20)).min(bytes.len());
                    bytes.drain(at..end);
                }
                4 => {
                    let end = (at + chance.below(40)).min(bytes.len());
                    let part = bytes[at..end].to_vec();
                    bytes.splice(at..at, part);
                }
                _ if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
                _ => {}
            }
        }
    }
}

/// Runs `storm(requests, seed)` on several threads, with `HOSPES_STORM` requests in total, or
/// `usual` if it is not set. Returns the number of requests and the sums of the threads' counts.
///
/// # Panics
/// If a thread panics.
pub fn storms(
    usual: usize,
    threads: usize,
    storm: impl Fn(usize, u64) -> [usize; 3] + Sync,
) -> (usize, [usize; 3]) {
    let wanted = std::env::var("HOSPES_STORM").ok().and_then(|text| text.parse().ok());
    let wanted: usize = wanted.unwrap_or(usual);
    let storm = &storm;
    let counts = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=threads as u64)
            .map(|thread| scope.spawn(move || storm(wanted / threads, thread * 0x9e37_79b9)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no failure"))
            .fold([0; 3], |sum, counts| std::array::from_fn(|kind| sum[kind] + counts[kind]))
    });
    (wanted, counts)
}

/// The resident memory of this process, in bytes.
///
/// # Panics
/// If the kernel does not report it.
pub fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("readable");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it is there");
    line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("a number") * 1024
}
