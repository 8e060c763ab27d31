//! Weights of another library, placed in the network of a recipe: each layer by the shape of its weight, in PyTorch's layouts, and layers of
//! equal shapes by their order.

use std::collections::HashMap;

use hospes_training::weights::{Tensor, Weights};

use crate::net::{Net, Parameter};

/// Most faults that are named.
const FAULTS_MAX: usize = 12;

/// Why weights are not those of the network.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("{}", listed(.0))]
    Unfit(Vec<String>),
    #[error(
        "`{one}.weight` and `{other}.weight` both have shape {shape:?}, and {why}: number the layers in their order, as in `fc1` and `fc2`, \
         or save them with `torch.save` in that order"
    )]
    Ambiguous { one: String, other: String, shape: Vec<usize>, why: &'static str },
    #[error("`{name}` has numbers that are not finite")]
    NotFinite { name: String },
}

fn listed(faults: &[String]) -> String {
    let more = faults.len().saturating_sub(FAULTS_MAX);
    let mut lines: Vec<String> = faults.iter().take(FAULTS_MAX).cloned().collect();
    lines.extend((more > 0).then(|| format!("and {more} more")));
    lines.join("\n")
}

/// A layer of the file.
struct Given {
    /// The name without `.weight`.
    name: String,
    weight: Tensor,
    bias: Tensor,
}

/// A layer of the network.
struct Wanted<'n> {
    weight: &'n Parameter,
    /// The shape that PyTorch's weight has.
    shape: Vec<usize>,
}

/// The network's weights in its own order and layout.
///
/// # Errors
/// [`PlaceError`] unless there is exactly one way to place all of them.
pub fn place(net: &Net, weights: Weights) -> Result<Vec<Vec<f32>>, PlaceError> {
    let Weights { tensors, is_ordered, .. } = weights;
    if let Some(tensor) =
        tensors.iter().find(|tensor| tensor.numbers.iter().any(|number| !number.is_finite()))
    {
        return Err(PlaceError::NotFinite { name: tensor.name.clone() });
    }
    let mut faults = Vec::new();
    let mut given = layers(tensors, &mut faults);
    // A bias comes after each weight.
    let parameters = net.parameters();
    let wanted: Vec<Wanted<'_>> = parameters.iter().step_by(2).map(Wanted::of).collect();
    let mut placed: Vec<Option<Given>> = wanted.iter().map(|_| None).collect();
    let mut is_missing = vec![true; wanted.len()];
    for at in 0..wanted.len() {
        let shape = &wanted[at].shape;
        if wanted[..at].iter().any(|earlier| earlier.shape == *shape) {
            continue;
        }
        let slots: Vec<usize> =
            (at..wanted.len()).filter(|other| wanted[*other].shape == *shape).collect();
        let (own, others): (Vec<Given>, Vec<Given>) =
            given.into_iter().partition(|layer| layer.weight.shape == *shape);
        given = others;
        if own.is_empty() {
            continue;
        }
        slots.iter().for_each(|slot| is_missing[*slot] = false);
        if own.len() != slots.len() {
            let names: Vec<String> =
                own.iter().take(FAULTS_MAX).map(|layer| named(&layer.name, "weight")).collect();
            let (found, layers) = (own.len(), slots.len());
            faults.push(format!(
                "weights of shape {shape:?}: the file has {found} (`{}`), the recipe wants {layers}", names.join("`, `")
            ));
            continue;
        }
        for (slot, layer) in slots.into_iter().zip(in_order(own, is_ordered)?) {
            placed[slot] = Some(layer);
        }
    }
    faults.extend(unplaced(&wanted, &is_missing, given));
    let mut numbers = Vec::with_capacity(parameters.len());
    for (layer, (place, wanted)) in placed.into_iter().zip(&wanted).enumerate() {
        let Some(Given { name, weight, bias }) = place else { continue };
        let outputs = wanted.shape[0];
        if bias.shape != [outputs] {
            let (found, layer) = (&bias.shape, layer + 1);
            faults.push(format!(
                "`{}` has shape {found:?}; layer {layer} of the recipe wants [{outputs}]",
                named(&name, "bias")
            ));
        }
        numbers.push(wanted.laid_out(weight.numbers));
        numbers.push(bias.numbers);
    }
    if faults.is_empty() { Ok(numbers) } else { Err(PlaceError::Unfit(faults)) }
}

fn named(layer: &str, part: &str) -> String {
    if layer.is_empty() { part.to_owned() } else { format!("{layer}.{part}") }
}

/// The tensors by layers, each with a weight and a bias, in the order of the file.
fn layers(tensors: Vec<Tensor>, faults: &mut Vec<String>) -> Vec<Given> {
    let mut halves: Vec<(String, Option<Tensor>, Option<Tensor>)> = Vec::new();
    let mut places = HashMap::new();
    for tensor in tensors {
        let (layer, part) = tensor.name.rsplit_once('.').unwrap_or(("", &tensor.name));
        if !matches!(part, "weight" | "bias") {
            let Tensor { name, shape, .. } = tensor;
            faults.push(format!("`{name}` of shape {shape:?} is no `weight` or `bias`: the recipe's network has no such tensor"));
            continue;
        }
        let (layer, is_bias) = (layer.to_owned(), part == "bias");
        let at = *places.entry(layer.clone()).or_insert(halves.len());
        if at == halves.len() {
            halves.push((layer, None, None));
        }
        let (_, weight, bias) = &mut halves[at];
        let half = if is_bias { bias } else { weight };
        if half.is_some() {
            faults.push(format!("`{}` is there twice", tensor.name));
        }
        *half = Some(tensor);
    }
    let whole = |(name, weight, bias): (String, Option<Tensor>, Option<Tensor>)| match (
        weight, bias,
    ) {
        (Some(weight), Some(bias)) => Some(Given { name, weight, bias }),
        (weight, bias) => {
            let there = weight.or(bias)?;
            let missing = if there.name.ends_with("bias") { "weight" } else { "bias" };
            faults.push(format!(
                "`{}` of shape {:?} is there, but `{}` is not: each layer of the recipe has a weight and a bias",
                there.name, there.shape, named(&name, missing)
            ));
            None
        }
    };
    halves.into_iter().filter_map(whole).collect()
}

/// Layers of one shape in the order of the network.
fn in_order(mut layers: Vec<Given>, is_ordered: bool) -> Result<Vec<Given>, PlaceError> {
    let [first, second, ..] = &layers[..] else { return Ok(layers) };
    let ambiguous = |why| PlaceError::Ambiguous {
        one: first.name.clone(),
        other: second.name.clone(),
        shape: first.weight.shape.clone(),
        why,
    };
    let (pattern, _) = numbered(&first.name);
    let is_numbered = layers.iter().all(|layer| numbered(&layer.name).0 == pattern);
    let number = |layer: &Given| numbered(&layer.name).1;
    if is_numbered {
        let is_sorted = layers.is_sorted_by_key(number);
        if is_ordered && !is_sorted {
            return Err(ambiguous("the file has them in another order than their numbers"));
        }
        layers.sort_by_key(number);
        return Ok(layers);
    }
    match is_ordered {
        true => Ok(layers),
        false => Err(ambiguous("nothing says which of them comes first")),
    }
}

/// A name without its numbers, and the numbers. Digits without their leading zeros, so that longer ones are greater.
fn numbered(name: &str) -> (String, Vec<(usize, String)>) {
    let (mut pattern, mut numbers) = (String::new(), Vec::new());
    let is_digit = |c: char| c.is_ascii_digit();
    let mut rest = name;
    while let Some(at) = rest.find(is_digit) {
        let (text, digits) = rest.split_at(at);
        let end = digits.find(|c| !is_digit(c)).unwrap_or(digits.len());
        let number = digits[..end].trim_start_matches('0').to_owned();
        pattern += &format!("{text}#");
        numbers.push((number.len(), number));
        rest = &digits[end..];
    }
    (pattern + rest, numbers)
}

/// What is left over in the file, and what is missing for the network.
fn unplaced(wanted: &[Wanted<'_>], is_missing: &[bool], given: Vec<Given>) -> Vec<String> {
    let mut missing: Vec<(usize, &Wanted<'_>)> =
        wanted.iter().enumerate().filter(|(at, _)| is_missing[*at]).collect();
    let mut faults = Vec::new();
    for Given { name, weight, .. } in given {
        let (name, shape) = (named(&name, "weight"), &weight.shape);
        // The first that it could be meant for.
        let meant = missing.iter().position(|(_, wanted)| wanted.shape.len() == shape.len());
        faults.push(match meant.map(|at| missing.remove(at)) {
            Some((at, wanted)) => format!(
                "`{name}` has shape {shape:?}; {} wants {:?}",
                in_words(at, wanted),
                wanted.shape
            ),
            None => format!(
                "`{name}` of shape {shape:?} is left over: the recipe's network has no layer for it"
            ),
        });
    }
    let missing = missing.into_iter().map(|(at, wanted)| {
        format!(
            "{} wants a weight of shape {:?} and its bias; the file has none left",
            in_words(at, wanted),
            wanted.shape
        )
    });
    faults.extend(missing);
    faults
}

fn in_words(at: usize, wanted: &Wanted<'_>) -> String {
    let kind = if wanted.shape.len() == 4 { "a convolution" } else { "linear" };
    format!("layer {} of the recipe ({kind})", at + 1)
}

impl<'n> Wanted<'n> {
    fn of(weight: &'n Parameter) -> Self {
        let shape = match *weight.dims.as_slice() {
            [inputs, outputs] => vec![outputs, inputs],
            ref dims => dims.to_vec(),
        };
        Self { weight, shape }
    }

    /// The numbers of PyTorch's weight in the layout of the layer.
    fn laid_out(&self, numbers: Vec<f32>) -> Vec<f32> {
        let [inputs, outputs] = *self.weight.dims.as_slice() else { return numbers };
        (0..inputs)
            .flat_map(|input| (0..outputs).map(move |output| output * inputs + input))
            .map(|at| numbers[at])
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(settings: &str, shape: &[usize], outputs: usize) -> Net {
        Net::new(&crate::tests::native(settings), shape, outputs).expect("it fits")
    }

    const MLP: &str = "task = \"table\"\ntarget = \"y\"\narchitecture = \"mlp\"\n";

    /// Tensors of these names and shapes; the numbers count from 0, and go on from one to the next.
    fn tensors(shapes: &[(&str, &[usize])], is_ordered: bool) -> Weights {
        let mut next = 0;
        let mut tensor = |(name, shape): &(&str, &[usize])| {
            let count: usize = shape.iter().product();
            next += count;
            let numbers = (next - count..next).map(|number| number as f32).collect();
            Tensor { name: (*name).to_owned(), shape: shape.to_vec(), numbers }
        };
        Weights { tensors: shapes.iter().map(&mut tensor).collect(), is_ordered, scaling: None }
    }

    #[track_caller]
    fn refused(net: &Net, shapes: &[(&str, &[usize])], is_ordered: bool, wanted: &[&str]) {
        let said = place(net, tensors(shapes, is_ordered)).expect_err("unfit").to_string();
        assert!(wanted.iter().all(|wanted| said.contains(wanted)), "{said}");
    }

    #[test]
    fn layers_are_placed_by_shape_and_linear_ones_are_turned() {
        let net =
            network("task = \"image\"\narchitecture = \"cnn\"\nwidths = [1]\n", &[1, 2, 2], 2);
        let shapes: [(&str, &[usize]); 4] = [
            ("module.fc.weight", &[2, 1]),
            ("module.fc.bias", &[2]),
            ("module.features.0.bias", &[1]),
            ("module.features.0.weight", &[1, 1, 3, 3]),
        ];
        let placed = place(&net, tensors(&shapes, false)).expect("it fits");
        let filter: Vec<f32> = (5_u8..14).map(f32::from).collect();
        assert_eq!(placed, [filter, vec![4.0], vec![0.0, 1.0], vec![2.0, 3.0]]);
        let mlp = network(&format!("{MLP}widths = [2]\n"), &[3], 1);
        let shapes: [(&str, &[usize]); 4] =
            [("0.weight", &[2, 3]), ("0.bias", &[2]), ("2.weight", &[1, 2]), ("2.bias", &[1])];
        let placed = place(&mlp, tensors(&shapes, true)).expect("it fits");
        assert_eq!(placed[0], [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(placed[1..], [vec![6.0, 7.0], vec![8.0, 9.0], vec![10.0]]);
        // A single layer's own weights have no prefix.
        let head = network(&MLP.replace("mlp", "head"), &[2], 1);
        let placed = place(&head, tensors(&[("bias", &[1]), ("weight", &[1, 2])], false));
        assert_eq!(placed.expect("it fits"), [vec![1.0, 2.0], vec![0.0]]);
    }

    #[test]
    fn layers_of_one_shape_are_placed_by_their_order_and_never_guessed() {
        let net = network(&format!("{MLP}widths = [2, 2, 2]\n"), &[2], 1);
        let shapes = |names: [&'static str; 3]| -> Vec<(String, Vec<usize>)> {
            let both = |name: &str, shape: &[usize]| {
                [
                    (format!("{name}.weight"), shape.to_vec()),
                    (format!("{name}.bias"), vec![shape[0]]),
                ]
            };
            names.iter().flat_map(|name| both(name, &[2, 2])).chain(both("last", &[1, 2])).collect()
        };
        let placed = |names, is_ordered| {
            let shapes = shapes(names);
            let shapes: Vec<(&str, &[usize])> =
                shapes.iter().map(|(name, shape)| (&**name, &**shape)).collect();
            place(&net, tensors(&shapes, is_ordered))
                .map(|placed| [0, 2, 4].map(|at| placed[at][0]))
        };
        // By number: 2 is before 10.
        assert_eq!(placed(["fc10", "fc2", "fc3"], false).expect("numbered"), [6.0, 12.0, 0.0]);
        // By the order in which they were made.
        assert_eq!(placed(["wide", "a", "b"], true).expect("ordered"), [0.0, 6.0, 12.0]);
        let said = placed(["wide", "a", "b"], false).expect_err("no order").to_string();
        assert!(said.contains("`wide.weight` and `a.weight` both have shape [2, 2]"), "{said}");
        let said = placed(["fc10", "fc2", "fc3"], true).expect_err("two orders").to_string();
        assert!(said.contains("another order than their numbers"), "{said}");
    }

    #[test]
    fn what_is_missing_left_over_or_of_another_shape_is_named() {
        let net = network(&format!("{MLP}widths = [4]\n"), &[3], 2);
        let sound: [(&str, &[usize]); 4] =
            [("a.weight", &[4, 3]), ("a.bias", &[4]), ("b.weight", &[2, 4]), ("b.bias", &[2])];
        assert!(place(&net, tensors(&sound, true)).is_ok());
        let twice = [&sound[..], &sound[3..]].concat();
        refused(&net, &twice, true, &["`b.bias` is there twice"]);
        let with = |at: usize, one: (&'static str, &'static [usize])| {
            let mut changed = sound;
            changed[at] = one;
            changed
        };
        refused(
            &net,
            &with(0, ("a.weight", &[3, 4])),
            true,
            &["`a.weight` has shape [3, 4]", "layer 1", "wants [4, 3]"],
        );
        refused(
            &net,
            &with(3, ("b.bias", &[4])),
            true,
            &["`b.bias` has shape [4]", "layer 2", "wants [2]"],
        );
        refused(&net, &sound[..2], true, &["layer 2", "shape [2, 4]", "none left"]);
        refused(&net, &sound[..3], true, &["`b.weight`", "`b.bias` is not"]);
        let more =
            |name: &'static str, shape: &'static [usize]| [&sound[..], &[(name, shape)]].concat();
        refused(
            &net,
            &more("norm.running_mean", &[4]),
            true,
            &["`norm.running_mean` of shape [4]", "no such tensor"],
        );
        let twice = [&more("c.weight", &[4, 3])[..], &[("c.bias", &[4][..])]].concat();
        refused(&net, &twice, true, &["has 2 (`a.weight`, `c.weight`)", "wants 1"]);
        let other = [&more("c.weight", &[9, 9])[..], &[("c.bias", &[9][..])]].concat();
        refused(&net, &other, true, &["`c.weight` of shape [9, 9] is left over"]);
        let mut weights = tensors(&sound, true);
        weights.tensors[2].numbers[1] = f32::NAN;
        let said = place(&net, weights).expect_err("not a number").to_string();
        assert!(said.contains("`b.weight`"), "{said}");
    }
}
