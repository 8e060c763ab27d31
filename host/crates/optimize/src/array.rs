//! The numbers of weights, also of weights that the model stores in fewer bits and expands when it is loaded.

use hospes_onnx::model::walk::Scope;
use hospes_onnx::model::{ElementType, Node, Tensor, Value};

/// How many nodes between stored bits and weights are looked through.
const NODES_MAX: usize = 4;

/// An array of numbers in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    pub dims: Vec<usize>,
    pub values: Vec<f32>,
}

impl Array {
    /// The numbers of a tensor of floats or of integers of at most 32 bits. `None` for other types, and if one is not finite.
    pub fn of(tensor: &Tensor) -> Option<Self> {
        let dims: Option<Vec<usize>> =
            tensor.dims.iter().map(|size| usize::try_from(*size).ok()).collect();
        let values: Vec<f32> = match tensor.element {
            ElementType::FLOAT => tensor.elements::<f32>().ok()?.into_owned(),
            ElementType::INT8 => wide(tensor.elements::<i8>().ok()?.iter().copied()),
            ElementType::UINT8 => wide(tensor.elements::<u8>().ok()?.iter().copied()),
            ElementType::INT32 => {
                tensor.elements::<i32>().ok()?.iter().map(|number| *number as f32).collect()
            }
            _ => return None,
        };
        values.iter().all(|value| value.is_finite()).then_some(Self { dims: dims?, values })
    }

    /// As a tensor.
    pub fn tensor(&self, name: impl Into<String>) -> Tensor {
        let dims: Vec<i64> = self.dims.iter().map(|size| *size as i64).collect();
        Tensor::new(name, &dims, &self.values)
    }

    /// How many numbers follow each other within one index of `axis`.
    pub fn inner(&self, axis: usize) -> usize {
        self.dims.iter().skip(axis + 1).product()
    }

    /// The index along `axis` of the number at a position.
    pub fn channel(&self, axis: usize, at: usize) -> usize {
        let size = self.dims.get(axis).copied().unwrap_or(1).max(1);
        at / self.inner(axis).max(1) % size
    }

    /// A matrix with rows and columns swapped; `None` if it is not a matrix.
    pub fn transposed(&self) -> Option<Self> {
        let [rows, columns] = self.dims[..] else { return None };
        let mut values = vec![0.0; self.values.len()];
        for (at, value) in self.values.iter().enumerate() {
            values[at % columns * rows + at / columns] = *value;
        }
        Some(Self { dims: vec![columns, rows], values })
    }
}

fn wide<T: Into<f32>>(numbers: impl Iterator<Item = T>) -> Vec<f32> {
    numbers.map(Into::into).collect()
}

/// The array that a value always is: a constant, or one that the model computes from constants by `Cast`, `Mul`, `Identity` or
/// `DequantizeLinear`, as models with stored weights do.
pub fn constant(scope: &Scope<'_>, name: &str) -> Option<Array> {
    computed(scope, name, NODES_MAX)
}

/// The shape of such an array, without its numbers.
pub fn shape(scope: &Scope<'_>, name: &str) -> Option<Vec<usize>> {
    shaped(scope, name, NODES_MAX)
}

fn shaped(scope: &Scope<'_>, name: &str, nodes: usize) -> Option<Vec<usize>> {
    if let Some(tensor) = scope.constant(name) {
        return tensor.dims.iter().map(|size| usize::try_from(*size).ok()).collect();
    }
    let node = scope.source(name)?;
    let nodes = nodes.checked_sub(1)?;
    let input = |at: usize| shaped(scope, node.inputs.get(at)?, nodes);
    match node.operator.as_str() {
        "Identity" | "Cast" | "DequantizeLinear" if node.is("", &node.operator) => input(0),
        "Mul" if node.is("", "Mul") => {
            let (one, other) = (input(0)?, input(1)?);
            let is_larger = one.iter().product::<usize>() >= other.iter().product();
            Some(if is_larger { one } else { other })
        }
        _ => None,
    }
}

fn computed(scope: &Scope<'_>, name: &str, nodes: usize) -> Option<Array> {
    if let Some(tensor) = scope.constant(name) {
        return Array::of(tensor);
    }
    let node = scope.source(name)?;
    let nodes = nodes.checked_sub(1)?;
    let input = |at: usize| computed(scope, node.inputs.get(at)?, nodes);
    if node.is("", "Identity") {
        return input(0);
    }
    if node.is("", "Cast") {
        let to = node.attribute("to").and_then(Value::as_int)?;
        return if to == i64::from(ElementType::FLOAT.0) { input(0) } else { None };
    }
    if node.is("", "Mul") {
        return product(input(0)?, &input(1)?);
    }
    if node.is("", "DequantizeLinear") {
        return dequantised(node, input(0)?, &input(1)?, input(2).as_ref());
    }
    None
}

/// Of two arrays that can be broadcast, if the first has the shape of the product.
fn product(mut array: Array, by: &Array) -> Option<Array> {
    if by.values.len() > array.values.len() {
        return product(by.clone(), &array);
    }
    let rank = array.dims.len();
    let mut sizes = vec![1; rank.checked_sub(by.dims.len())?];
    sizes.extend(&by.dims);
    if sizes.iter().zip(&array.dims).any(|(by, size)| *by != 1 && by != size) {
        return None;
    }
    // How far each step along a dimension goes in `by`.
    let mut steps = vec![0; rank];
    let mut step = 1;
    for axis in (0..rank).rev() {
        steps[axis] = if sizes[axis] == 1 { 0 } else { step };
        step *= sizes[axis];
    }
    let dims = array.dims.clone();
    for (at, value) in array.values.iter_mut().enumerate() {
        let (mut rest, mut from) = (at, 0);
        for axis in (0..rank).rev() {
            from += rest % dims[axis] * steps[axis];
            rest /= dims[axis];
        }
        *value *= by.values.get(from)?;
    }
    Some(array)
}

fn dequantised(
    node: &Node,
    mut array: Array,
    scale: &Array,
    zero: Option<&Array>,
) -> Option<Array> {
    let axis = node.attribute("axis").and_then(Value::as_int).unwrap_or(1);
    let rank = i64::try_from(array.dims.len()).ok()?;
    let axis = usize::try_from(if axis < 0 { axis + rank } else { axis }).ok()?;
    if node.inputs.get(2).is_some_and(|name| !name.is_empty()) && zero.is_none() {
        return None;
    }
    let shape = array.clone();
    for (at, value) in array.values.iter_mut().enumerate() {
        let channel = if scale.values.len() == 1 { 0 } else { shape.channel(axis, at) };
        let zero = zero.map_or(Some(0.0), |zero| zero.values.get(channel).copied())?;
        *value = (*value - zero) * scale.values.get(channel)?;
    }
    Some(array)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(dims: &[usize], values: &[f32]) -> Array {
        Array { dims: dims.to_vec(), values: values.to_vec() }
    }

    #[test]
    fn a_product_is_broadcast_as_onnx_does() {
        let matrix = array(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let rows = product(matrix.clone(), &array(&[2, 1], &[10.0, 100.0]));
        assert_eq!(rows, Some(array(&[2, 3], &[10.0, 20.0, 30.0, 400.0, 500.0, 600.0])));
        let columns = product(array(&[3], &[1.0, 0.0, 2.0]), &matrix);
        assert_eq!(columns, Some(array(&[2, 3], &[1.0, 0.0, 6.0, 4.0, 0.0, 12.0])));
        assert_eq!(product(matrix, &array(&[2], &[1.0, 1.0])), None, "of another size");
    }

    #[test]
    fn a_matrix_is_transposed() {
        let matrix = array(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let turned = matrix.transposed().expect("a matrix");
        assert_eq!(turned, array(&[3, 2], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
        assert_eq!(turned.transposed(), Some(matrix));
        assert_eq!(array(&[2], &[1.0, 2.0]).transposed(), None);
    }
}
