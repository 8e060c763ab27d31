//! Values across the canonical ABI: [`Value`]s into and out of a guest's memory, by the component's types.
//!
//! Wasmtime's dynamic values box every list element, which costs a hundred times the copy. Its typed calls copy, but need types known at
//! compile time. This module implements the typed calls' traits for [`Value`], so a list of numbers is one copy for any function.
//!
//! The surprise: these traits are internal to wasmtime. Its exact version is pinned for that reason, and a test passes every kind of type
//! both ways.

mod lift;
mod lower;
mod size;

use std::mem::MaybeUninit;

use wasmtime::component::__internal::{
    CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext, LowerContext,
};
use wasmtime::component::{ComponentNamedList, ComponentType, Lift, Lower};
use wasmtime::{Result, ValRaw, bail};

use crate::value::Value;

/// Maximum core values for passing parameters; more go through memory (component model, `MAX_FLAT_PARAMS`).
const FLAT_PARAMS_MAX: usize = 16;

/// Maximum core values for passing results; more go through memory (`MAX_FLAT_RESULTS`).
const FLAT_RESULTS_MAX: usize = 1;

/// Size of a value of `ty` in a guest's memory, in bytes.
pub(super) fn size(ty: &crate::value::Type) -> usize {
    size::of(ty).0
}

pub(super) use lift::load;

/// The arguments of one call, in order. They match the function's parameters.
pub(super) struct Arguments(pub(super) Vec<Value>);

/// A function's result, if it has one.
pub(super) struct Lifted(pub(super) Option<Value>);

#[expect(unsafe_code, reason = "implementing wasmtime's traits of typed calls")]
// SAFETY: `Lower` is an array of `ValRaw`, as the trait requires.
unsafe impl ComponentType for Arguments {
    type Lower = [ValRaw; FLAT_PARAMS_MAX];

    // Unused: with 16 core values wasmtime passes the flat form, and `Arguments` goes through memory itself where the real types need it.
    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::ZERO;

    fn typecheck(_: &InterfaceType, _: &InstanceType<'_>) -> Result<()> {
        bail!("values are for calls whose types were read from the component")
    }
}

#[expect(unsafe_code, reason = "implementing wasmtime's traits of typed calls")]
// SAFETY: a function's parameters are a tuple, and `Arguments` lowers to a tuple.
unsafe impl ComponentNamedList for Arguments {}

#[expect(unsafe_code, reason = "implementing wasmtime's traits of typed calls")]
// SAFETY: every slot of `dst` is written: with the flat form of `ty` if it fits, otherwise with a pointer to its form in memory, as the
// canonical ABI requires.
unsafe impl Lower for Arguments {
    fn linear_lower_to_flat<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        dst: &mut MaybeUninit<Self::Lower>,
    ) -> Result<()> {
        dst.write(lower::arguments(&self.0, cx, ty)?);
        Ok(())
    }

    fn linear_lower_to_memory<T>(
        &self,
        _: &mut LowerContext<'_, T>,
        _: InterfaceType,
        _: usize,
    ) -> Result<()> {
        bail!("arguments are lowered by `linear_lower_to_flat`")
    }
}

#[expect(unsafe_code, reason = "implementing wasmtime's traits of typed calls")]
// SAFETY: `Lower` is an array of one `ValRaw`, because a function returns at most one core value.
unsafe impl ComponentType for Lifted {
    type Lower = [ValRaw; FLAT_RESULTS_MAX];

    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::ZERO;

    fn typecheck(_: &InterfaceType, _: &InstanceType<'_>) -> Result<()> {
        bail!("values are for calls whose types were read from the component")
    }
}

#[expect(unsafe_code, reason = "implementing wasmtime's traits of typed calls")]
// SAFETY: as for `Arguments`.
unsafe impl ComponentNamedList for Lifted {}

#[expect(unsafe_code, reason = "implementing wasmtime's traits of typed calls")]
// SAFETY: `src` and the guest's memory are not trusted: every pointer, length and tag is checked.
unsafe impl Lift for Lifted {
    fn linear_lift_from_flat(
        cx: &mut LiftContext<'_>,
        ty: InterfaceType,
        src: &Self::Lower,
    ) -> Result<Self> {
        lift::result(cx, ty, src).map(Self)
    }

    fn linear_lift_from_memory(
        _: &mut LiftContext<'_>,
        _: InterfaceType,
        _: &[u8],
    ) -> Result<Self> {
        bail!("results are lifted by `linear_lift_from_flat`")
    }
}

/// Element size in bytes, for a list that is stored contiguously.
fn packed_width(element: InterfaceType) -> Option<usize> {
    match element {
        InterfaceType::S8 | InterfaceType::U8 => Some(1),
        InterfaceType::S16 | InterfaceType::U16 => Some(2),
        InterfaceType::S32 | InterfaceType::U32 | InterfaceType::Float32 => Some(4),
        InterfaceType::S64 | InterfaceType::U64 | InterfaceType::Float64 => Some(8),
        _ => None,
    }
}
