//! Turns the probability of speech in each window into segments, as Silero's own package does by default.

/// Speech begins at the first probability, and ends below the second. In between, the state does not change.
const SPEAKS: f32 = 0.5;
const SILENT: f32 = 0.35;

/// The minimum duration of a segment, the minimum silence that ends it, and the padding on both sides, in milliseconds.
const SPEECH_MS_MIN: u32 = 250;
const SILENCE_MS_MIN: u32 = 100;
const PADDING_MS: u32 = 30;

/// Where speech begins and ends, in samples.
pub struct Stretches {
    window: usize,
    samples: usize,
    speech_min: usize,
    silence_min: usize,
    padding: usize,
    /// The beginning of the next window.
    at: usize,
    began: Option<usize>,
    /// The beginning of the current silence in a segment.
    silent: Option<usize>,
}

impl Stretches {
    /// The segments of a recording with this many samples.
    pub fn new(rate: u32, samples: usize) -> Self {
        let of = |millis: u32| (rate * millis / 1000) as usize;
        Self {
            window: crate::wav::window(rate),
            samples,
            speech_min: of(SPEECH_MS_MIN),
            silence_min: of(SILENCE_MS_MIN),
            padding: of(PADDING_MS),
            at: 0,
            began: None,
            silent: None,
        }
    }

    /// Takes the probability of the next window. Returns a segment if one has ended.
    pub fn hear(&mut self, chance: f32) -> Option<(usize, usize)> {
        let at = self.at;
        self.at += self.window;
        if chance >= SPEAKS {
            self.silent = None;
            self.began.get_or_insert(at);
        }
        let began = self.began?;
        if chance < SILENT && at - *self.silent.get_or_insert(at) >= self.silence_min {
            let end = self.silent.take()?;
            self.began = None;
            return self.stretch(began, end);
        }
        None
    }

    /// The last segment, if the recording ends in speech.
    pub fn end(&mut self) -> Option<(usize, usize)> {
        let began = self.began.take()?;
        self.stretch(began, self.samples)
    }

    /// Two segments are further apart than their paddings are long, so each is padded independently.
    fn stretch(&self, began: usize, end: usize) -> Option<(usize, usize)> {
        let is_speech = end.saturating_sub(began) > self.speech_min;
        is_speech
            .then(|| (began.saturating_sub(self.padding), self.samples.min(end + self.padding)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The segments for these probabilities, in windows of 512 samples at 16 kHz.
    fn of(chances: &[(f32, usize)]) -> Vec<(usize, usize)> {
        let windows: Vec<f32> =
            chances.iter().flat_map(|(chance, count)| vec![*chance; *count]).collect();
        let mut stretches = Stretches::new(16_000, windows.len() * 512);
        let mut found: Vec<_> =
            windows.iter().filter_map(|chance| stretches.hear(*chance)).collect();
        found.extend(stretches.end());
        found
    }

    #[test]
    fn speech_begins_and_ends_with_padding() {
        assert_eq!(of(&[(0.1, 10), (0.9, 20), (0.1, 10)]), [(5120 - 480, 15360 + 480)]);
        // At both ends of the recording there is no room for padding.
        assert_eq!(of(&[(0.9, 20)]), [(0, 10240)]);
        assert!(of(&[(0.1, 50)]).is_empty());
        assert!(of(&[]).is_empty());
    }

    #[test]
    fn short_speech_is_none_and_short_silence_does_not_end_it() {
        assert!(of(&[(0.1, 5), (0.9, 7), (0.1, 10)]).is_empty());
        assert_eq!(of(&[(0.9, 10), (0.1, 3), (0.9, 10), (0.1, 20)]), [(0, 23 * 512 + 480)]);
        assert_eq!(of(&[(0.9, 10), (0.1, 5), (0.9, 10)]).len(), 2);
    }

    #[test]
    fn in_between_it_goes_on_as_it_was() {
        assert!(of(&[(0.1, 5), (0.4, 30)]).is_empty());
        assert_eq!(of(&[(0.9, 5), (0.4, 30)]), [(0, 35 * 512)]);
        // A silence that has begun also continues in between.
        assert_eq!(of(&[(0.9, 10), (0.1, 1), (0.4, 10), (0.1, 1)]), [(0, 10 * 512 + 480)]);
    }
}
