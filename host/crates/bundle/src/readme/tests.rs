//! Tests of READMEs: one as people write them, unusual ones, and hostile ones.

use super::*;
use crate::lineage::FoundBy;

/// In the form of those on Hugging Face.
const CARD: &str = "---\nlanguage:\n- en\n- no\nlicense: apache-2.0\ntags:\n- text-classification\n- generated_from_trainer\n\
datasets: imdb\nmetrics:\n- accuracy\nbase_model: distilbert-base-uncased\npipeline_tag: text-classification\nwidget:\n\
- text: I like it\nmodel-index:\n- name: reviews\n  results:\n  - task:\n      name: Text Classification\n      type: text-classification\n\
\x20   dataset:\n      name: imdb\n      type: imdb\n      split: test\n    metrics:\n    - name: Accuracy\n      type: accuracy\n\
\x20     value: 0.9312\n    - type: f1\n      value: '0.93'\n    - type: note\n      value: good\n---\n# Reviews\n\nText.\n";

fn read(text: &str) -> Result<Readme, ReadmeError> {
    Readme::read(Bytes::copy_from_slice(text.as_bytes()))
}

#[test]
fn what_is_known_is_typed_and_the_text_is_kept_whole() {
    let readme = read(CARD).expect("a card");
    assert_eq!(readme.text, CARD);
    assert_eq!(readme.licence.as_ref().map(Licence::as_str), Some("Apache-2.0"));
    let Card { languages, tags, datasets, metrics, base_models, task, .. } = &readme.card;
    assert_eq!(*languages, ["en", "no"]);
    assert_eq!(*tags, ["text-classification", "generated_from_trainer"]);
    assert_eq!(
        (&datasets[..], &metrics[..]),
        (&["imdb".to_owned()][..], &["accuracy".to_owned()][..])
    );
    assert_eq!(*base_models, ["distilbert-base-uncased"]);
    assert_eq!(task.as_deref(), Some("text-classification"));
    let figures: Vec<_> =
        readme.evaluations.iter().map(|one| (&*one.metric, one.value.get())).collect();
    assert_eq!(figures, [("accuracy", 0.9312), ("f1", 0.93)]);
    let first = &readme.evaluations[0];
    assert_eq!((&*first.data, first.by), ("imdb (test)", FoundBy::Publisher));
    assert!(
        readme.notes.len() == 1 && readme.notes[0].starts_with("1 results"),
        "{:?}",
        readme.notes
    );
}

#[test]
fn a_text_without_front_matter_is_only_text() {
    for text in ["", "# Title\n---\nlicense: mit\n---\n", "--\n", "no"] {
        let readme = read(text).expect("text");
        assert_eq!(readme, Readme { text: readme.text.clone(), ..Readme::default() });
    }
    for text in ["\u{feff}---\r\nlicense: mit\r\n---\r\nText", "---\nlicense: MIT\n---"] {
        assert_eq!(read(text).expect("a card").licence.as_ref().map(Licence::as_str), Some("MIT"));
    }
    assert_eq!(read("---\n---\n").expect("empty").card, Card::default());
}

#[test]
fn a_licence_that_spdx_does_not_know_is_noted() {
    for said in ["other", "[mit, apache-2.0]", "openrail"] {
        let readme = read(&format!("---\nlicense: {said}\n---\n")).expect("a card");
        assert_eq!(readme.licence, None);
        assert!(readme.notes[0].contains("`--licence`"), "{:?}", readme.notes);
    }
}

#[test]
fn entries_of_another_shape_are_noted_and_too_many_are_left_out() {
    let readme =
        read("---\ntags: [a, {b: c}, [d], '', 7, true]\nmodel-index: none\n---\n").expect("a card");
    assert_eq!(readme.card.tags, ["a", "7"]);
    assert!(readme.notes[0].starts_with("4 of `tags`"), "{:?}", readme.notes);
    let many: Vec<String> = (0..=CARD_LIST_MAX).map(|n| format!("t{n}")).collect();
    let readme = read(&format!("---\ntags: [{}]\n---\n", many.join(", "))).expect("a card");
    assert_eq!(readme.card.tags.len(), CARD_LIST_MAX);
    let long = "t".repeat(CARD_ENTRY_BYTES_MAX + 1);
    let readme = read(&format!("---\ntags: {long}\n---\n")).expect("a card");
    assert!(readme.card.tags.is_empty() && readme.notes.len() == 1);
    let infinite = "---\nmodel-index:\n- results:\n  - dataset: {name: d}\n    metrics: [{type: m, value: .inf}]\n---\n";
    assert!(read(infinite).expect("a card").evaluations.is_empty());
}

#[test]
fn hostile_front_matter_ends_within_the_limits() {
    let refused = |text: &str| read(text).expect_err("must be refused");
    assert!(matches!(refused("---\nlicense: mit\n"), ReadmeError::NoEnd));
    assert!(matches!(refused("---\n- a\n---\n"), ReadmeError::NotAMap));
    assert!(matches!(refused("---\na: [\n---\n"), ReadmeError::Yaml { .. }));
    assert!(matches!(refused("---\na: 1\na: 2\n---\n"), ReadmeError::Yaml { .. }));
    let large = "x".repeat(README_BYTES_MAX + 1);
    assert!(matches!(refused(&large), ReadmeError::TooLarge { .. }));
    let large = format!("---\na: {}\n---\n", "x".repeat(FRONT_MATTER_BYTES_MAX));
    assert!(matches!(refused(&large), ReadmeError::FrontMatterTooLarge { .. }));
    let latin = Readme::read(Bytes::from_static(b"---\na: \xe9\n---\n"));
    assert!(matches!(latin, Err(ReadmeError::NotText(_))));
    // Each line repeats the one before it ten times: a billion laughs.
    let mut bomb = "---\na0: &a0 lol\n".to_owned();
    for n in 1..10 {
        let aliases = vec![format!("*a{}", n - 1); 10].join(", ");
        bomb += &format!("a{n}: &a{n} [{aliases}]\n");
    }
    assert!(matches!(refused(&format!("{bomb}---\n")), ReadmeError::Yaml { .. }));
    for deep in [
        format!("---\na: {}{}\n---\n", "[".repeat(20_000), "]".repeat(20_000)),
        format!("---\n{}\n---\n", "- ".repeat(20_000)),
        format!("---\n{}1\n---\n", "? ".repeat(20_000)),
        format!(
            "---\n{}\n---\n",
            (0..300).map(|n| format!("{}a:\n", " ".repeat(n))).collect::<String>()
        ),
    ] {
        assert!(matches!(refused(&deep), ReadmeError::Yaml { .. } | ReadmeError::NotAMap));
    }
    assert!(matches!(refused("---\na: &a [*a]\n---\n"), ReadmeError::Yaml { .. }));
}

#[test]
fn names_from_the_yaml_never_reach_a_terminal_with_control_characters() {
    let error = read("---\n\"\\e[2J\": [\n---\n").expect_err("not YAML").to_string();
    assert!(!error.chars().any(char::is_control), "{error:?}");
    let readme = read("---\ntags: [\"\\e[2J\"]\n---\n").expect("a card");
    assert!(readme.card.tags.is_empty());
}
