//! Tensors. A [`Tensor`] is a handle. The host has the elements, and only [`Tensor::to_vec`] copies them into the guest's
//! memory.

use crate::bindings::wasi::nn::tensor as nn;
use crate::{Element, ElementType, Error, ErrorKind};

/// A tensor in the host's memory.
///
/// ```no_run
/// # fn main() -> Result<(), hospes_sdk::Error> {
/// use hospes_sdk::Tensor;
///
/// let picture = Tensor::new(&[1, 3, 224, 224], &vec![0.0_f32; 3 * 224 * 224])?;
/// assert_eq!(picture.shape(), [1, 3, 224, 224]);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Tensor(nn::Tensor);

impl Tensor {
    /// A tensor of `shape` with `elements` in row-major order. A shape of `[]` is a single value.
    ///
    /// # Errors
    /// If the number of elements is not the product of the dimensions, or a dimension is 2^32 or more.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), hospes_sdk::Error> {
    /// use hospes_sdk::Tensor;
    ///
    /// let tokens = Tensor::new(&[1, 3], &[101_i64, 7592, 102])?;
    /// # Ok(()) }
    /// ```
    pub fn new<T: Element>(shape: &[usize], elements: &[T]) -> Result<Self, Error> {
        let dimensions = dimensions(shape, elements.len())?;
        Ok(Self(nn::Tensor::new(&dimensions, T::TYPE.into(), bytemuck::cast_slice(elements))))
    }

    /// The size of each dimension.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), hospes_sdk::Error> {
    /// # use hospes_sdk::Tensor;
    /// assert_eq!(Tensor::new(&[2, 2], &[1_u8, 2, 3, 4])?.shape(), [2, 2]);
    /// # Ok(()) }
    /// ```
    pub fn shape(&self) -> Vec<u32> {
        self.0.dimensions()
    }

    /// The type of the elements.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), hospes_sdk::Error> {
    /// # use hospes_sdk::{ElementType, Tensor};
    /// assert_eq!(Tensor::new(&[1], &[7_i32])?.element_type(), ElementType::I32);
    /// # Ok(()) }
    /// ```
    pub fn element_type(&self) -> ElementType {
        self.0.ty().into()
    }

    /// The elements, in row-major order.
    ///
    /// # Errors
    /// If the elements are not of type `T`.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), hospes_sdk::Error> {
    /// # use hospes_sdk::Tensor;
    /// let scores = Tensor::new(&[3], &[0.25_f32, 0.5, 0.25])?;
    /// assert_eq!(scores.to_vec::<f32>()?, [0.25, 0.5, 0.25]);
    /// assert!(scores.to_vec::<i64>().is_err());
    /// # Ok(()) }
    /// ```
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>, Error> {
        let seen = self.element_type();
        if seen != T::TYPE {
            let message = format!("the tensor's elements are {seen}, not {}", T::TYPE);
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        // If the host sends part of an element, that is its fault. The elements before it are still correct.
        let bytes = self.0.data();
        Ok(bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect())
    }
}

impl From<nn::Tensor> for Tensor {
    fn from(handle: nn::Tensor) -> Self {
        Self(handle)
    }
}

impl From<Tensor> for nn::Tensor {
    fn from(tensor: Tensor) -> Self {
        tensor.0
    }
}

fn dimensions(shape: &[usize], elements: usize) -> Result<Vec<u32>, Error> {
    let invalid = |message| Error::new(ErrorKind::InvalidArgument, message);
    let product = shape.iter().try_fold(1_usize, |product, &d| product.checked_mul(d));
    if product != Some(elements) {
        return Err(invalid(format!(
            "a tensor of shape {shape:?} does not hold {elements} elements"
        )));
    }
    shape
        .iter()
        .map(|&d| u32::try_from(d).map_err(|_| invalid(format!("a dimension of {d} is too large"))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_holds_exactly_the_product_of_its_dimensions() {
        assert_eq!(dimensions(&[2, 3], 6), Ok(vec![2, 3]));
        assert_eq!(dimensions(&[], 1), Ok(vec![]));
        assert_eq!(dimensions(&[4, 0], 0), Ok(vec![4, 0]));
        for (shape, elements) in [(&[2, 3][..], 5), (&[], 0), (&[usize::MAX, 2], 8)] {
            let error = dimensions(shape, elements).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        }
    }
}
