//! Values across the canonical ABI: [`Value`]s into a guest's memory and out of it, by the component's own types.
//!
//! Wasmtime's dynamic values box every element of a list, which costs a hundred times what the bytes are worth. Its typed
//! calls copy, but want types that are known when this program is built. This module implements the traits of typed calls
//! for [`Value`]: a list of numbers is one copy, whatever function it is for.
//!
//! The surprise: the traits are wasmtime's own inner interface. The exact version is pinned for it, and a test calls every
//! kind of type both ways.

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

/// Most core values that parameters are passed in; more go through memory (component model, `MAX_FLAT_PARAMS`).
const FLAT_PARAMS_MAX: usize = 16;

/// Most core values that results are passed in; more go through memory (`MAX_FLAT_RESULTS`).
const FLAT_RESULTS_MAX: usize = 1;

/// Bytes that a value of `ty` takes in a guest's memory.
pub(super) fn size(ty: &crate::value::Type) -> usize {
    size::of(ty).0
}

pub(super) use lift::load;

/// The arguments of one call, in order. They fit the parameters of the function that is called.
pub(super) struct Arguments(pub(super) Vec<Value>);

/// What a function returned, if it returns anything.
pub(super) struct Lifted(pub(super) Option<Value>);

#[expect(unsafe_code, reason = "implementing wasmtime's traits of typed calls")]
// SAFETY: `Lower` is an array of `ValRaw`, as the trait asks.
unsafe impl ComponentType for Arguments {
    type Lower = [ValRaw; FLAT_PARAMS_MAX];

    // Not used: that there are 16 core values makes wasmtime hand over the flat form, and `Arguments` goes through memory
    // by itself where the real types need it.
    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::ZERO;

    fn typecheck(_: &InterfaceType, _: &InstanceType<'_>) -> Result<()> {
        bail!("values are for calls whose types were read from the component")
    }
}

#[expect(unsafe_code, reason = "implementing wasmtime's traits of typed calls")]
// SAFETY: the parameters of a function are a tuple, which is what `Arguments` lowers to.
unsafe impl ComponentNamedList for Arguments {}

#[expect(unsafe_code, reason = "implementing wasmtime's traits of typed calls")]
// SAFETY: every slot of `dst` is written, with the flat form of `ty` if it fits and with a pointer to its form in memory
// otherwise, as the canonical ABI says.
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
// SAFETY: `Lower` is an array of one `ValRaw`: a function returns at most one core value.
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
// SAFETY: nothing is assumed of `src` or of the guest's memory: every pointer, length and tag is checked.
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

/// Bytes of one element, of a list that is kept as one piece.
fn packed_width(element: InterfaceType) -> Option<usize> {
    match element {
        InterfaceType::S8 | InterfaceType::U8 => Some(1),
        InterfaceType::S16 | InterfaceType::U16 => Some(2),
        InterfaceType::S32 | InterfaceType::U32 | InterfaceType::Float32 => Some(4),
        InterfaceType::S64 | InterfaceType::U64 | InterfaceType::Float64 => Some(8),
        _ => None,
    }
}
