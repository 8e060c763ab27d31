//! The classes with the highest scores, by name.

include!(concat!(env!("OUT_DIR"), "/labels.rs"));

/// The number of classes in the result.
pub(crate) const BEST: usize = 5;

/// Number, name and probability of the classes with the highest logits, best first. Equal classes are in the order of their numbers.
///
/// # Errors
/// If the numbers of logits and classes differ, because the bundle contains another model.
pub(crate) fn best(logits: &[f32]) -> Result<[(u32, &'static str, f32); BEST], String> {
    if logits.len() != LABELS.len() {
        let (seen, wanted) = (logits.len(), LABELS.len());
        return Err(format!("the model gave {seen} scores for {wanted} classes"));
    }
    let mut order: Vec<usize> = (0..logits.len()).collect();
    let descending = |a: &usize, b: &usize| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b));
    order.select_nth_unstable_by(BEST - 1, descending);
    order[..BEST].sort_unstable_by(descending);

    // Added in f64: in f32, the sum of a thousand small terms would be wrong in the fifth digit.
    let highest = logits[order[0]];
    let share = |logit: f32| f64::from(logit - highest).exp();
    let sum: f64 = logits.iter().map(|&logit| share(logit)).sum();
    Ok(std::array::from_fn(|rank| {
        let class = order[rank];
        (class as u32, LABELS[class], (share(logits[class]) / sum) as f32)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_come_first_with_their_share() {
        let mut logits = vec![0.0; 1000];
        for (rank, class) in [282, 285, 281, 287, 904, 0].into_iter().enumerate() {
            logits[class] = 12.0 - rank as f32;
        }
        let best = best(&logits).unwrap();
        assert_eq!(best.map(|(class, ..)| class), [282, 285, 281, 287, 904]);
        assert_eq!(best[0].1, "tiger cat");
        let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
        for (class, _, score) in best {
            let share = f64::from(logits[class as usize]).exp() / sum;
            assert!((f64::from(score) - share).abs() < 1e-6, "{class}: {score}, not {share}");
        }
    }

    #[test]
    fn equal_scores_are_named_in_the_order_of_the_classes() {
        assert_eq!(best(&[-1.5; 1000]).unwrap().map(|(class, ..)| class), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn large_logits_do_not_overflow() {
        let mut logits = [-500.0; 1000];
        logits[7] = 500.0;
        assert_eq!(best(&logits).unwrap()[0], (7, LABELS[7], 1.0));
    }

    #[test]
    fn another_models_output_is_refused() {
        assert!(best(&[0.0; 10]).unwrap_err().starts_with("the model gave 10 scores"));
    }
}
