//! Chooses the next token from the logits.
//!
//! A choice depends on the logits, the settings, the seed and the place in the sequence, and on nothing else: not on what is computed
//! beside it, nor on how many numbers were drawn before.

use std::collections::HashMap;

use hospes_core::language::{Chosen, Failure, Likely, Refusal, Sampling};

/// Maximum likeliest tokens that are reported.
pub const LIKELY_MAX: u8 = 64;
/// Maximum biases.
pub const BIAS_MAX: usize = 4096;
/// Candidates that are looked at for `top_p`, if `top_k` says nothing. The rest of a vocabulary together is never likely.
const CANDIDATES_MAX: usize = 1024;

/// The settings of a generation, checked, and what it has chosen so far.
#[derive(Debug)]
pub struct Sampler {
    how: Sampling,
    seed: u64,
    /// How often each token was generated.
    generated: HashMap<u32, u32>,
}

/// Checks settings, so that no number of them can do harm.
///
/// # Errors
/// [`Failure`] that names the setting.
pub fn check(how: &Sampling, vocabulary: usize) -> Result<(), Failure> {
    let within = |name: &str, value: f32, min: f32, max: f32| {
        if value >= min && value <= max {
            return Ok(());
        }
        Err(invalid(format!("`{name}` is {value}, but must be from {min} to {max}")))
    };
    within("temperature", how.temperature, 0.0, 100.0)?;
    within("top-p", how.top_p, 0.0, 1.0)?;
    within("min-p", how.min_p, 0.0, 1.0)?;
    within("repeat", how.repeat, 0.01, 100.0)?;
    within("frequency", how.frequency, -100.0, 100.0)?;
    within("presence", how.presence, -100.0, 100.0)?;
    if how.bias.len() > BIAS_MAX {
        let count = how.bias.len();
        return Err(invalid(format!("`bias` has {count} tokens, more than {BIAS_MAX}")));
    }
    for (token, bias) in &how.bias {
        if *token as usize >= vocabulary {
            return Err(invalid(format!("`bias` has token {token}, but there are {vocabulary}")));
        }
        within("bias", *bias, -1000.0, 1000.0)?;
    }
    if let Some(count) = how.logprobs.filter(|count| *count > LIKELY_MAX) {
        return Err(invalid(format!("`logprobs` is {count}, more than {LIKELY_MAX}")));
    }
    Ok(())
}

fn invalid(text: String) -> Failure {
    Failure { why: Refusal::Invalid, text }
}

impl Sampler {
    /// A sampler of checked settings. `seed` is for settings without one.
    pub fn new(how: Sampling, seed: u64) -> Self {
        Self { seed: how.seed.unwrap_or(seed), how, generated: HashMap::new() }
    }

    /// Chooses a token for this place of a sequence. `allowed` says which tokens may be chosen. `None` if no logit is a number.
    pub fn choose(
        &mut self,
        logits: &[f32],
        before: &[u32],
        allowed: Option<&dyn Fn(usize) -> bool>,
    ) -> Option<u32> {
        let mut logits = logits.to_vec();
        self.adjust(&mut logits, before);
        if let Some(allowed) = allowed {
            for (token, logit) in logits.iter_mut().enumerate() {
                if !allowed(token) {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        let token = if self.how.temperature == 0.0 {
            likeliest(&logits)?
        } else {
            self.draw(&logits, before.len())?
        };
        *self.generated.entry(token).or_default() += 1;
        Some(token)
    }

    /// A token's log probability before any setting, and those of the likeliest, if they were asked for.
    pub fn report(
        &self,
        logits: &[f32],
        token: u32,
        bytes: &dyn Fn(u32) -> Vec<u8>,
    ) -> Option<Chosen> {
        let count = self.how.logprobs?;
        let base = log_sum(logits);
        let logit = logits.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY);
        let token = Likely { token, logprob: logit - base, bytes: bytes(token) };
        Some(Chosen { token, top: likely(logits, count, bytes) })
    }

    /// Penalties and biases.
    fn adjust(&self, logits: &mut [f32], before: &[u32]) {
        if self.how.repeat != 1.0 {
            let mut seen: Vec<u32> = before.to_vec();
            seen.sort_unstable();
            seen.dedup();
            for token in seen {
                if let Some(logit) = logits.get_mut(token as usize) {
                    let by = self.how.repeat;
                    *logit = if *logit > 0.0 { *logit / by } else { *logit * by };
                }
            }
        }
        if self.how.frequency != 0.0 || self.how.presence != 0.0 {
            for (token, count) in &self.generated {
                if let Some(logit) = logits.get_mut(*token as usize) {
                    *logit -= self.how.frequency * *count as f32 + self.how.presence;
                }
            }
        }
        for (token, bias) in &self.how.bias {
            if let Some(logit) = logits.get_mut(*token as usize) {
                *logit += bias;
            }
        }
    }

    /// Draws one of the candidates that `top_k`, `top_p` and `min_p` leave.
    fn draw(&self, logits: &[f32], place: usize) -> Option<u32> {
        let top_k = match self.how.top_k as usize {
            0 => logits.len(),
            top_k => top_k.min(logits.len()),
        };
        let bounded = self.how.top_k > 0 || self.how.top_p < 1.0 || self.how.min_p > 0.0;
        let count = if bounded { top_k.min(CANDIDATES_MAX) } else { top_k };
        let candidates = largest(logits, count);
        let most = logits.get(*candidates.first()? as usize).copied()?;
        if !most.is_finite() {
            return None;
        }
        let weight = |token: &u32| {
            let logit = logits.get(*token as usize).copied().unwrap_or(f32::NEG_INFINITY);
            f64::from((logit - most) / self.how.temperature).exp()
        };
        let mut weights: Vec<f64> = candidates.iter().map(weight).collect();
        let total: f64 = weights.iter().sum();
        let (mut sum, mut kept) = (0.0, 0);
        for weight in &weights {
            // The first is always kept.
            let is_small = *weight < f64::from(self.how.min_p);
            if kept > 0 && (sum >= f64::from(self.how.top_p) * total || is_small) {
                break;
            }
            sum += weight;
            kept += 1;
        }
        weights.truncate(kept);
        let mut left = uniform(self.seed, place as u64) * sum;
        let mut chosen = candidates.iter().zip(&weights).filter(|(_, weight)| **weight > 0.0);
        let mut last = *candidates.first()?;
        chosen
            .find_map(|(token, weight)| {
                last = *token;
                left -= weight;
                (left < 0.0).then_some(*token)
            })
            .or(Some(last))
    }
}

/// The likeliest tokens with their log probabilities, likeliest first.
pub fn likely(logits: &[f32], count: u8, bytes: &dyn Fn(u32) -> Vec<u8>) -> Vec<Likely> {
    let base = log_sum(logits);
    let tokens = largest(logits, count.min(LIKELY_MAX).into());
    let likely = tokens.into_iter().map(|token| {
        let logit = logits.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY);
        Likely { token, logprob: logit - base, bytes: bytes(token) }
    });
    likely.collect()
}

/// The first of the largest logits that are numbers.
fn likeliest(logits: &[f32]) -> Option<u32> {
    let mut best: Option<(usize, f32)> = None;
    for (token, logit) in logits.iter().enumerate() {
        if best.is_none_or(|(_, most)| *logit > most) && logit.is_finite() {
            best = Some((token, *logit));
        }
    }
    best.and_then(|(token, _)| u32::try_from(token).ok())
}

/// The tokens with the largest logits, largest first, and of equal ones the first.
fn largest(logits: &[f32], count: usize) -> Vec<u32> {
    if count == 0 {
        return Vec::new();
    }
    let order =
        |one: &(f32, u32), other: &(f32, u32)| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1));
    let numbered = logits.iter().zip(0_u32..).filter(|(logit, _)| logit.is_finite());
    let mut all: Vec<(f32, u32)> = numbered.map(|(logit, token)| (*logit, token)).collect();
    if count < all.len() {
        all.select_nth_unstable_by(count - 1, order);
        all.truncate(count);
    }
    all.sort_unstable_by(order);
    all.into_iter().map(|(_, token)| token).collect()
}

fn log_sum(logits: &[f32]) -> f32 {
    let finite = || logits.iter().copied().filter(|logit| logit.is_finite());
    let most = finite().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = finite().map(|logit| f64::from(logit - most).exp()).sum();
    most + sum.ln() as f32
}

/// A number from 0 to below 1 that depends on the seed and the place only (SplitMix64 twice).
fn uniform(seed: u64, place: u64) -> f64 {
    let mix = |number: u64| {
        let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        number ^ (number >> 31)
    };
    (mix(mix(seed) ^ place) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(token: u32) -> Vec<u8> {
        vec![token as u8]
    }

    fn sampler(how: Sampling) -> Sampler {
        Sampler::new(how, 7)
    }

    #[test]
    fn without_temperature_the_first_of_the_likeliest_is_chosen_and_what_is_no_number_never() {
        let mut sampler = sampler(Sampling::default());
        assert_eq!(sampler.choose(&[0.0, 2.0, f32::NAN, 2.0, f32::INFINITY], &[], None), Some(1));
        assert_eq!(sampler.choose(&[f32::NAN, f32::NEG_INFINITY], &[], None), None);
        assert_eq!(sampler.choose(&[1.0, 2.0], &[], Some(&|token| token == 0)), Some(0));
    }

    #[test]
    fn a_choice_depends_on_seed_and_place_and_not_on_what_was_drawn_before() {
        let how = Sampling { temperature: 1.0, seed: Some(3), ..Sampling::default() };
        let logits: Vec<f32> = (0..100).map(|token| (token % 7) as f32).collect();
        let mut one = sampler(how.clone());
        let first: Vec<_> = (0..50).map(|at| one.choose(&logits, &vec![0; at], None)).collect();
        let mut other = sampler(how.clone());
        let again = (0..50).rev().map(|at| other.choose(&logits, &vec![0; at], None));
        let again: Vec<_> = again.collect::<Vec<_>>().into_iter().rev().collect();
        assert_eq!(first, again);
        let mut seeded = sampler(Sampling { seed: Some(4), ..how });
        let seeded: Vec<_> = (0..50).map(|at| seeded.choose(&logits, &vec![0; at], None)).collect();
        assert_ne!(first, seeded);
    }

    #[test]
    fn draws_follow_the_probabilities_that_the_settings_leave() {
        let logits = [0.0_f32, 1.0, 2.0, 3.0];
        let counts = |how: Sampling| {
            let mut counts = [0_u32; 4];
            let mut sampler = sampler(Sampling { temperature: 1.0, seed: Some(1), ..how });
            for place in 0..4000 {
                let chosen = sampler.draw(&logits, place).expect("numbers");
                counts[chosen as usize] += 1;
            }
            let _ = sampler.choose(&logits, &[], None);
            counts
        };
        let all = counts(Sampling::default());
        let expected = logits.map(|logit| logit.exp() / 31.19 * 4000.0);
        for (count, expected) in all.iter().zip(expected) {
            assert!((*count as f32 - expected).abs() < 150.0, "{all:?}");
        }
        assert_eq!(counts(Sampling { top_k: 1, ..Sampling::default() }), [0, 0, 0, 4000]);
        assert_eq!(counts(Sampling { top_p: 0.5, ..Sampling::default() }), [0, 0, 0, 4000]);
        let two = counts(Sampling { top_p: 0.8, ..Sampling::default() });
        assert!(two[..2] == [0, 0] && two[2] > 0, "{two:?}");
        let min_p = counts(Sampling { min_p: 0.3, ..Sampling::default() });
        assert!(min_p[..2] == [0, 0] && min_p[2] > 0, "{min_p:?}");
    }

    #[test]
    fn penalties_and_biases_move_the_choice() {
        let mut repeat = sampler(Sampling { repeat: 2.0, ..Sampling::default() });
        assert_eq!(repeat.choose(&[1.0, 1.5], &[1], None), Some(0));
        let mut presence = sampler(Sampling { presence: 1.0, ..Sampling::default() });
        assert_eq!(presence.choose(&[1.0, 1.5], &[], None), Some(1));
        assert_eq!(presence.choose(&[1.0, 1.5], &[], None), Some(0), "1 was generated");
        let mut frequency = sampler(Sampling { frequency: 0.4, ..Sampling::default() });
        let chosen: Vec<_> = (0..3).map(|_| frequency.choose(&[1.0, 1.5], &[], None)).collect();
        assert_eq!(chosen, [Some(1), Some(1), Some(0)]);
        let mut bias = sampler(Sampling { bias: vec![(0, 1.0)], ..Sampling::default() });
        assert_eq!(bias.choose(&[1.0, 1.5], &[], None), Some(0));
    }

    #[test]
    fn log_probabilities_are_the_model_s_own_and_add_up_to_one() {
        let logits = [0.0_f32, 1.0, 2.0];
        let how = Sampling { logprobs: Some(3), bias: vec![(0, 9.0)], ..Sampling::default() };
        let chosen = sampler(how).report(&logits, 0, &bytes).expect("asked for");
        let total: f32 = chosen.top.iter().map(|likely| likely.logprob.exp()).sum();
        assert!((total - 1.0).abs() < 1e-5, "{total}");
        let tokens: Vec<u32> = chosen.top.iter().map(|likely| likely.token).collect();
        assert_eq!(tokens, [2, 1, 0]);
        assert_eq!((chosen.token.token, chosen.token.logprob), (0, chosen.top[2].logprob));
        assert!(sampler(Sampling::default()).report(&logits, 0, &bytes).is_none());
    }

    #[test]
    fn settings_out_of_bounds_are_refused_by_name() {
        let wrong = [
            ("temperature", Sampling { temperature: f32::NAN, ..Sampling::default() }),
            ("top-p", Sampling { top_p: 1.5, ..Sampling::default() }),
            ("min-p", Sampling { min_p: -0.1, ..Sampling::default() }),
            ("repeat", Sampling { repeat: 0.0, ..Sampling::default() }),
            ("bias", Sampling { bias: vec![(10, 0.0)], ..Sampling::default() }),
            ("bias", Sampling { bias: vec![(0, f32::INFINITY)], ..Sampling::default() }),
            ("logprobs", Sampling { logprobs: Some(200), ..Sampling::default() }),
        ];
        for (name, how) in wrong {
            let failure = check(&how, 10).expect_err(name);
            assert!(failure.text.contains(name), "{failure}");
        }
        check(&Sampling::default(), 10).expect("the default is allowed");
    }
}
