//! The types of a tensor's elements.

use half::{bf16, f16};

use crate::bindings::wasi::nn::tensor::TensorType;

/// The type of a tensor's elements.
///
/// ```
/// use hospes_sdk::ElementType;
///
/// assert_eq!(ElementType::F32.bytes(), 4);
/// assert_eq!(ElementType::Bf16.to_string(), "bf16");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ElementType {
    /// IEEE half precision.
    F16,
    /// IEEE single precision.
    F32,
    /// IEEE double precision.
    F64,
    /// The upper half of single precision.
    Bf16,
    /// Unsigned bytes.
    U8,
    /// 32-bit signed integers.
    I32,
    /// 64-bit signed integers.
    I64,
}

impl ElementType {
    /// The size of one element, in bytes.
    ///
    /// ```
    /// assert_eq!(hospes_sdk::ElementType::I64.bytes(), 8);
    /// ```
    pub const fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F16 | Self::Bf16 => 2,
            Self::F32 | Self::I32 => 4,
            Self::F64 | Self::I64 => 8,
        }
    }
}

impl std::fmt::Display for ElementType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F16 => "f16",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::Bf16 => "bf16",
            Self::U8 => "u8",
            Self::I32 => "i32",
            Self::I64 => "i64",
        })
    }
}

impl From<TensorType> for ElementType {
    fn from(ty: TensorType) -> Self {
        match ty {
            TensorType::Fp16 => Self::F16,
            TensorType::Fp32 => Self::F32,
            TensorType::Fp64 => Self::F64,
            TensorType::Bf16 => Self::Bf16,
            TensorType::U8 => Self::U8,
            TensorType::I32 => Self::I32,
            TensorType::I64 => Self::I64,
        }
    }
}

impl From<ElementType> for TensorType {
    fn from(ty: ElementType) -> Self {
        match ty {
            ElementType::F16 => Self::Fp16,
            ElementType::F32 => Self::Fp32,
            ElementType::F64 => Self::Fp64,
            ElementType::Bf16 => Self::Bf16,
            ElementType::U8 => Self::U8,
            ElementType::I32 => Self::I32,
            ElementType::I64 => Self::I64,
        }
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A Rust type that can be a tensor's element: `f32`, `f64`, `u8`, `i32`, `i64`, [`half::f16`] and [`half::bf16`].
///
/// ```
/// use hospes_sdk::{Element, ElementType};
///
/// assert_eq!(<i64 as Element>::TYPE, ElementType::I64);
/// ```
pub trait Element: bytemuck::Pod + sealed::Sealed {
    /// The host's name for this type.
    const TYPE: ElementType;
}

macro_rules! elements {
    ($($rust:ty => $name:ident),* $(,)?) => {$(
        impl sealed::Sealed for $rust {}
        impl Element for $rust {
            const TYPE: ElementType = ElementType::$name;
        }
    )*};
}

elements! { f16 => F16, f32 => F32, f64 => F64, bf16 => Bf16, u8 => U8, i32 => I32, i64 => I64 }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_survives_the_way_to_the_host_and_back() {
        use ElementType::*;
        for ty in [F16, F32, F64, Bf16, U8, I32, I64] {
            assert_eq!(ElementType::from(TensorType::from(ty)), ty);
        }
    }

    #[test]
    fn sizes_are_those_of_the_rust_types() {
        fn check<T: Element>() {
            assert_eq!(T::TYPE.bytes(), size_of::<T>(), "{}", T::TYPE);
        }
        check::<f16>();
        check::<f32>();
        check::<f64>();
        check::<bf16>();
        check::<u8>();
        check::<i32>();
        check::<i64>();
    }
}
