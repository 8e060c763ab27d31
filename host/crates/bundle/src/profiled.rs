//! Whether a profile of held-out data is about the model that it is packed with, as far as names and sizes show.

use std::collections::BTreeMap;

use hospes_evidence::{Distribution, FEATURES_MAX, Profile};
use hospes_onnx::model::Size;
use hospes_onnx::{Interface, Port};

/// The profile was made with a model that takes or answers something else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the profile is of another model: it counts {seen} as {side}, and this model has {expected}; run `hospes evaluate --profile` with the model that you pack"
)]
pub struct OtherProfile {
    side: &'static str,
    seen: String,
    expected: String,
}

/// Checks the distributions of inputs and outputs against those of the model.
pub(super) fn check(profile: &Profile, interface: &Interface) -> Result<(), OtherProfile> {
    let inputs: Vec<&Port> = interface.inputs.iter().filter(|port| !port.has_default).collect();
    let counted = elements(profile.inputs());
    let is_named = inputs.iter().all(|port| counted.contains_key(&*port.name));
    let is_whole = match &inputs[..] {
        // Nothing that can be counted.
        _ if counted.is_empty() => true,
        _ if is_named => inputs.iter().all(|port| fits(port, counted[&*port.name])),
        // The columns of a table are not named as the one input that they are given to.
        [only] => fits(only, counted.values().copied().sum::<Option<usize>>()),
        _ => false,
    };
    if !is_whole && profile.inputs().len() < FEATURES_MAX {
        return Err(other("inputs", &counted, &inputs));
    }
    let outputs: Vec<&Port> = interface.outputs.iter().collect();
    let counted = elements(profile.outputs());
    let is_whole = counted
        .iter()
        .all(|(name, count)| outputs.iter().any(|port| port.name == *name && fits(port, *count)));
    if !is_whole && profile.outputs().len() < FEATURES_MAX {
        return Err(other("outputs", &counted, &outputs));
    }
    Ok(())
}

fn other(
    side: &'static str,
    counted: &BTreeMap<&str, Option<usize>>,
    ports: &[&Port],
) -> OtherProfile {
    /// Names shown.
    const NAMES_MAX: usize = 8;
    let names = counted.iter().take(NAMES_MAX).map(|(name, count)| match count {
        Some(count) if *count > 1 => format!("`{name}` (each row {count} numbers)"),
        _ => format!("`{name}`"),
    });
    let mut seen = names.collect::<Vec<_>>().join(", ");
    if counted.len() > NAMES_MAX {
        seen += &format!(" and {} more", counted.len() - NAMES_MAX);
    }
    if seen.is_empty() {
        seen = "nothing".to_owned();
    }
    let expected = ports.iter().map(|port| format!("`{port}`")).collect::<Vec<_>>().join(", ");
    OtherProfile { side, seen, expected }
}

/// How many numbers of a row are counted of each input or output. `None` where only their mean is.
fn elements(distributions: &[Distribution]) -> BTreeMap<&str, Option<usize>> {
    let mut found: BTreeMap<&str, Option<usize>> = BTreeMap::new();
    for Distribution { name, .. } in distributions {
        // Counted beside the numbers that it is the largest of.
        if name.ends_with(".class") {
            continue;
        }
        match [".mean", ".deviation"].iter().find_map(|end| name.strip_suffix(end)) {
            Some(whole) => {
                found.insert(whole, None);
            }
            None => {
                let whole = name.strip_suffix(']').and_then(|name| name.rsplit_once('['));
                let whole = whole.filter(|(_, place)| place.parse::<usize>().is_ok());
                let count = found.entry(whole.map_or(name, |(whole, _)| whole)).or_insert(Some(0));
                *count = count.map(|count| count + 1);
            }
        }
    }
    found
}

/// Whether so many numbers can be a row of it.
fn fits(port: &Port, counted: Option<usize>) -> bool {
    let Some([_, sizes @ ..]) = port.shape.as_deref() else { return true };
    let sizes: Option<Vec<usize>> = sizes
        .iter()
        .map(|size| match size {
            Size::Fixed(size) => usize::try_from(*size).ok(),
            _ => None,
        })
        .collect();
    match (sizes, counted) {
        // Without a second dimension, the first may not be that of rows.
        (Some(sizes), Some(counted)) if !sizes.is_empty() => {
            sizes.iter().product::<usize>() == counted
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use hospes_core::id::Digest;
    use hospes_evidence::of_numbers;
    use hospes_onnx::model::{ElementType, Graph, Model, Node, ValueInfo};

    use super::*;

    fn interface(input: &str, columns: i64, output: &str, classes: i64) -> Interface {
        let mut graph = Graph::new("g");
        let port = |name: &str, size: i64| {
            let shape = [Size::Named("n".into()), Size::Fixed(size)];
            ValueInfo::tensor(name, ElementType::FLOAT, &shape)
        };
        graph.inputs.push(port(input, columns));
        graph.nodes.push(Node::new("Identity", &[input], &[output]));
        graph.outputs.push(port(output, classes));
        hospes_onnx::fit(&Model::new(graph, 17)).expect("sound")
    }

    fn profile(inputs: &[&str], outputs: &[&str]) -> Profile {
        let of = |names: &[&str]| -> Vec<Distribution> {
            let values: Vec<f64> = (0..2_000).map(f64::from).collect();
            names.iter().map(|name| of_numbers((*name).to_owned(), &values)).collect()
        };
        Profile::new(Digest::of(b"rows"), 2_000, of(inputs), of(outputs)).expect("enough rows")
    }

    #[test]
    fn a_profile_of_another_model_is_refused_with_both_names() {
        let model = interface("x", 3, "y", 2);
        let answers = ["y[0]", "y[1]", "y.class"];
        for inputs in
            [&["x[0]", "x[1]", "x[2]"][..], &["a", "b", "c"], &["image.mean", "image.deviation"]]
        {
            assert_eq!(check(&profile(inputs, &answers), &model), Ok(()), "{inputs:?}");
        }
        for (inputs, outputs) in [
            (&["a", "b"][..], &answers[..]),
            (&["a", "b", "c"], &["y[0]", "y[1]", "y[2]", "y.class"]),
            (&["a", "b", "c"], &["other[0]", "other[1]"]),
        ] {
            let refused = check(&profile(inputs, outputs), &model).expect_err("another model");
            let said = refused.to_string();
            let both =
                ["`x: FLOAT[n, 3]`", "`y: FLOAT[n, 2]`"].iter().any(|own| said.contains(own));
            let theirs = ["`a`, `b` as inputs", "`y` (each row 3 numbers)", "`other` (each row 2"];
            assert!(both && theirs.iter().any(|other| said.contains(other)), "{said}");
        }
    }
}
