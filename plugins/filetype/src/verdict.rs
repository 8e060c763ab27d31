//! The result for the model's scores: its best label, unless another type replaces it or its score is too low.

include!(concat!(env!("OUT_DIR"), "/magika.rs"));

/// A type that a file can have.
#[derive(Debug, PartialEq)]
pub(crate) struct Kind {
    pub(crate) label: &'static str,
    pub(crate) mime_type: &'static str,
    pub(crate) group: &'static str,
    pub(crate) description: &'static str,
    pub(crate) extensions: &'static [&'static str],
    pub(crate) is_text: bool,
}

/// One of the model's labels.
#[derive(Debug)]
pub(crate) struct Label {
    /// The type with the label's name.
    own: &'static Kind,
    /// The type that is returned for it.
    answer: &'static Kind,
    /// The minimum score for this label. It is compared in double precision, as in Magika, because 0.9 has no exact `f32`.
    score_min: f64,
}

/// The result for a file.
#[derive(Debug, PartialEq)]
pub(crate) struct Finding {
    pub(crate) kind: &'static Kind,
    pub(crate) score: f32,
    pub(crate) model_label: Option<&'static str>,
}

impl Finding {
    /// The result of a rule on the file's size or content, without the model.
    pub(crate) fn by_rule(kind: &'static Kind) -> Self {
        Self { kind, score: 1.0, model_label: None }
    }

    /// The result for the model's scores, one for each label.
    ///
    /// # Errors
    /// If the numbers of scores and labels differ, because the bundle contains another model.
    pub(crate) fn by_model(scores: &[f32]) -> Result<Self, String> {
        if scores.len() != LABELS.len() {
            let (seen, wanted) = (scores.len(), LABELS.len());
            return Err(format!("the model gave {seen} scores for {wanted} labels"));
        }
        let (mut label, mut score) = (&LABELS[0], f32::MIN);
        // The first of equal scores wins.
        for (candidate, &candidate_score) in LABELS.iter().zip(scores) {
            if candidate_score > score {
                (label, score) = (candidate, candidate_score);
            }
        }
        let kind = match f64::from(score) >= label.score_min {
            true => label.answer,
            // The model distinguishes text from other bytes reliably, even if it is unsure of the type.
            false if label.answer.is_text => TXT,
            false => UNKNOWN,
        };
        Ok(Self { kind, score, model_label: Some(label.own.label) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores in which `label` has the highest.
    fn scores(label: &str, score: f32) -> Vec<f32> {
        let rest = (1.0 - score) / LABELS.len() as f32;
        LABELS.iter().map(|l| if l.own.label == label { score } else { rest }).collect()
    }

    fn answer(label: &str, score: f32) -> &'static str {
        Finding::by_model(&scores(label, score)).unwrap().kind.label
    }

    #[test]
    fn a_sure_label_is_believed() {
        let finding = Finding::by_model(&scores("pdf", 0.99)).unwrap();
        assert_eq!(finding.kind.label, "pdf");
        assert_eq!(finding.kind.mime_type, "application/pdf");
        assert_eq!(finding.kind.extensions, ["pdf"]);
        assert_eq!((finding.score, finding.model_label), (0.99, Some("pdf")));
    }

    #[test]
    fn a_label_is_believed_from_its_threshold_on() {
        assert_eq!(answer("pdf", 0.5), "pdf");
        assert_eq!(answer("pdf", 0.4999), "unknown");
        assert_eq!(answer("python", 0.4999), "txt");
        // Markdown has its own threshold, 0.75.
        assert_eq!(answer("markdown", 0.75), "markdown");
        assert_eq!(answer("markdown", 0.7499), "txt");
    }

    #[test]
    fn thresholds_are_compared_in_double_precision() {
        // The `f32` nearest to 0.9 is less than 0.9.
        assert_eq!(answer("sql", 0.9), "txt");
        assert_eq!(answer("sql", 0.9001), "sql");
    }

    #[test]
    fn some_labels_stand_for_another_type() {
        assert_eq!(answer("randombytes", 0.99), "unknown");
        assert_eq!(answer("randomtxt", 0.99), "txt");
        assert_eq!(answer("randomtxt", 0.1), "txt");
    }

    #[test]
    fn the_first_of_equal_scores_wins() {
        let equal = vec![0.7; LABELS.len()];
        let finding = Finding::by_model(&equal).unwrap();
        assert_eq!(finding.model_label, Some(LABELS[0].own.label));
    }

    #[test]
    fn another_models_output_is_refused() {
        let error = Finding::by_model(&[1.0; 3]).unwrap_err();
        assert!(error.starts_with("the model gave 3 scores for "), "{error}");
    }

    #[test]
    fn types_without_a_media_type_have_a_general_one() {
        assert!(KINDS.iter().all(|kind| !kind.mime_type.is_empty() && !kind.group.is_empty()));
        assert_eq!(UNKNOWN.mime_type, "application/octet-stream");
        assert_eq!(TXT.mime_type, "text/plain");
        assert!(!EMPTY.is_text);
    }
}
