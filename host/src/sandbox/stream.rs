//! Functions that return a stream: each element is passed on as it comes, and the guest waits while nobody reads.
//!
//! Wasmtime's streams need an element type known at compile time. Only its size must be known: the rest is read from the component, as in
//! [`super::canonical`].

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::oneshot;
use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext};
use wasmtime::component::{
    Accessor, ComponentNamedList, ComponentType, Func, Lift, Source, StreamConsumer, StreamReader,
    StreamResult, TypedFunc,
};
use wasmtime::{Result, StoreContextMut, ValRaw, bail};

use super::canonical::{Arguments, load};
use super::context::CallState;
use super::limits::LimitReached;
use crate::outcome::GuestFailure;
use crate::value::{Type, Value};

/// A stream's sink.
pub trait Sink: Send + Sync {
    /// Waits until there is room for an element.
    ///
    /// # Errors
    /// [`GuestFailure::Disconnected`] if the reader has gone.
    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), GuestFailure>>;

    /// Takes an element, once there is room.
    ///
    /// # Errors
    /// Why it may not be released, which ends the call.
    fn push(&self, value: Value) -> Result<(), GuestFailure>;
}

/// Bytes of a `stream<u8>` taken at once.
const BYTES_AT_ONCE: usize = 64 << 10;

/// Supported element sizes, in bytes.
pub(super) const SIZES: [usize; 14] = [1, 2, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64];

/// A function's result before its stream begins.
pub(super) enum Begun {
    Streamed,
    Refused(Value),
}

/// Calls `func` and passes its stream on until it ends.
pub(super) async fn run(
    accessor: &Accessor<CallState>,
    func: Func,
    values: Vec<Value>,
    (element, fallible): (&Type, bool),
    sink: Arc<dyn Sink>,
) -> Result<Begun> {
    if *element == Type::U8 {
        return bytes(accessor, func, values, fallible, sink).await;
    }
    macro_rules! by_size {
        ($($size:literal)*) => {
            match super::canonical::size(element) {
                $($size => elements::<$size>(accessor, func, values, fallible, sink).await,)*
                size => bail!("elements of {size} bytes cannot be streamed"),
            }
        };
    }
    by_size!(1 2 4 8 12 16 20 24 28 32 40 48 56 64)
}

async fn elements<const SIZE: u32>(
    accessor: &Accessor<CallState>,
    func: Func,
    values: Vec<Value>,
    fallible: bool,
    sink: Arc<dyn Sink>,
) -> Result<Begun> {
    let reader = match begin::<Element<SIZE>>(accessor, func, values, fallible).await? {
        Ok(reader) => reader,
        Err(refusal) => return Ok(Begun::Refused(refusal)),
    };
    let (ended, end) = oneshot::channel();
    accessor.with(|store| reader.pipe(store, Elements::<SIZE> { sink, _ended: ended }))?;
    // The consumer is dropped at the end of the stream, and the sender with it.
    let _ = end.await;
    Ok(Begun::Streamed)
}

async fn bytes(
    accessor: &Accessor<CallState>,
    func: Func,
    values: Vec<Value>,
    fallible: bool,
    sink: Arc<dyn Sink>,
) -> Result<Begun> {
    let reader = match begin::<u8>(accessor, func, values, fallible).await? {
        Ok(reader) => reader,
        Err(refusal) => return Ok(Begun::Refused(refusal)),
    };
    let (ended, end) = oneshot::channel();
    accessor.with(|store| reader.pipe(store, Bytes { sink, _ended: ended }))?;
    let _ = end.await;
    Ok(Begun::Streamed)
}

/// Calls the function and returns its result.
async fn begin<T: ComponentType + Send + Sync + 'static>(
    accessor: &Accessor<CallState>,
    func: Func,
    values: Vec<Value>,
    fallible: bool,
) -> Result<Result<StreamReader<T>, Value>> {
    let arguments = Arguments(values);
    if fallible {
        #[expect(
            unsafe_code,
            reason = "the types of a call are only known when a bundle is deployed"
        )]
        // SAFETY: as in `Instance::invoke`. The component declares that the function returns `result<stream<_>, string>`.
        let func = unsafe { TypedFunc::<Arguments, StreamOrRefusal<T>>::new_unchecked(func) };
        Ok(func.call_concurrent(accessor, arguments).await?.0)
    } else {
        #[expect(
            unsafe_code,
            reason = "the types of a call are only known when a bundle is deployed"
        )]
        // SAFETY: as above, for a function that returns `stream<_>`.
        let func = unsafe { TypedFunc::<Arguments, StreamOnly<T>>::new_unchecked(func) };
        Ok(Ok(func.call_concurrent(accessor, arguments).await?.0))
    }
}

/// An element of `SIZE` bytes.
struct Element<const SIZE: u32>(Value);

#[expect(unsafe_code, reason = "implementing wasmtime's traits of typed calls")]
// SAFETY: elements are only lifted from memory; `Lower` is not used.
unsafe impl<const SIZE: u32> ComponentType for Element<SIZE> {
    type Lower = [ValRaw; 1];

    // Bytes are read one by one, so no alignment is needed.
    const ABI: CanonicalAbiInfo =
        CanonicalAbiInfo { size32: SIZE, align32: 1, size64: SIZE, align64: 1, flat_count: None };

    fn typecheck(_: &InterfaceType, _: &InstanceType<'_>) -> Result<()> {
        bail!("elements are of streams whose types were read from the component")
    }
}

#[expect(unsafe_code, reason = "implementing wasmtime's traits of typed calls")]
// SAFETY: the guest's memory is not trusted: every pointer, length and tag is checked.
unsafe impl<const SIZE: u32> Lift for Element<SIZE> {
    fn linear_lift_from_flat(
        _: &mut LiftContext<'_>,
        _: InterfaceType,
        _: &Self::Lower,
    ) -> Result<Self> {
        bail!("elements of a stream lie in memory")
    }

    fn linear_lift_from_memory(
        cx: &mut LiftContext<'_>,
        ty: InterfaceType,
        bytes: &[u8],
    ) -> Result<Self> {
        load(cx, ty, bytes).map(Self)
    }
}

/// The result of a function that returns `stream<T>`.
struct StreamOnly<T>(StreamReader<T>);

/// The result of a function that returns `result<stream<T>, string>`.
struct StreamOrRefusal<T>(Result<StreamReader<T>, Value>);

#[expect(unsafe_code, reason = "implementing wasmtime's traits of typed calls")]
// SAFETY: a stream is one core value.
unsafe impl<T: ComponentType> ComponentType for StreamOnly<T> {
    type Lower = [ValRaw; 1];

    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::ZERO;

    fn typecheck(_: &InterfaceType, _: &InstanceType<'_>) -> Result<()> {
        bail!("streams are of calls whose types were read from the component")
    }
}

#[expect(unsafe_code, reason = "implementing wasmtime's traits of typed calls")]
// SAFETY: a discriminant, then a stream in one core value or a text in two.
unsafe impl<T: ComponentType> ComponentType for StreamOrRefusal<T> {
    type Lower = [ValRaw; 3];

    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::ZERO;

    fn typecheck(_: &InterfaceType, _: &InstanceType<'_>) -> Result<()> {
        bail!("streams are of calls whose types were read from the component")
    }
}

#[expect(unsafe_code, reason = "implementing wasmtime's traits of typed calls")]
// SAFETY: results are a tuple, which this lifts.
unsafe impl<T: ComponentType> ComponentNamedList for StreamOnly<T> {}

#[expect(unsafe_code, reason = "implementing wasmtime's traits of typed calls")]
// SAFETY: as above.
unsafe impl<T: ComponentType> ComponentNamedList for StreamOrRefusal<T> {}

#[expect(unsafe_code, reason = "implementing wasmtime's traits of typed calls")]
// SAFETY: wasmtime checks the handle.
unsafe impl<T: ComponentType> Lift for StreamOnly<T> {
    fn linear_lift_from_flat(
        cx: &mut LiftContext<'_>,
        ty: InterfaceType,
        src: &Self::Lower,
    ) -> Result<Self> {
        StreamReader::linear_lift_from_flat(cx, only(cx, ty)?, &src[0]).map(Self)
    }

    fn linear_lift_from_memory(
        _: &mut LiftContext<'_>,
        _: InterfaceType,
        _: &[u8],
    ) -> Result<Self> {
        bail!("results are lifted by `linear_lift_from_flat`")
    }
}

#[expect(unsafe_code, reason = "implementing wasmtime's traits of typed calls")]
// SAFETY: tag, handle and text are checked.
unsafe impl<T: ComponentType> Lift for StreamOrRefusal<T> {
    fn linear_lift_from_flat(
        cx: &mut LiftContext<'_>,
        ty: InterfaceType,
        src: &Self::Lower,
    ) -> Result<Self> {
        let InterfaceType::Result(index) = only(cx, ty)? else { bail!("the answer is no result") };
        let result = &cx.types[index];
        match (src[0].get_u32(), result.ok) {
            (0, Some(stream)) => StreamReader::linear_lift_from_flat(cx, stream, &src[1])
                .map(|reader| Self(Ok(reader))),
            (1, _) => {
                let text = <Box<str>>::linear_lift_from_flat(
                    cx,
                    InterfaceType::String,
                    &[src[1], src[2]],
                )?;
                Ok(Self(Err(Value::String(text))))
            }
            _ => bail!("the guest returned a tag that its type does not have"),
        }
    }

    fn linear_lift_from_memory(
        _: &mut LiftContext<'_>,
        _: InterfaceType,
        _: &[u8],
    ) -> Result<Self> {
        bail!("results are lifted by `linear_lift_from_flat`")
    }
}

/// The only result of a function whose results are the tuple `ty`.
fn only(cx: &LiftContext<'_>, ty: InterfaceType) -> Result<InterfaceType> {
    let InterfaceType::Tuple(index) = ty else { bail!("results are a tuple") };
    match *cx.types[index].types {
        [only] => Ok(only),
        _ => bail!("several results"),
    }
}

/// Passes elements on, one at a time.
struct Elements<const SIZE: u32> {
    sink: Arc<dyn Sink>,
    _ended: oneshot::Sender<()>,
}

impl<const SIZE: u32> StreamConsumer<CallState> for Elements<SIZE> {
    type Item = Element<SIZE>;

    fn poll_consume(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut store: StoreContextMut<'_, CallState>,
        mut source: Source<'_, Self::Item>,
        finish: bool,
    ) -> Poll<Result<StreamResult>> {
        match ready(&*self.sink, context, finish) {
            Poll::Ready(Ok(None)) => {}
            Poll::Ready(Ok(Some(result))) => return Poll::Ready(Ok(result)),
            Poll::Ready(Err(failure)) => {
                return Poll::Ready(Err(LimitReached::Sink(failure).into()));
            }
            Poll::Pending => return Poll::Pending,
        }
        let mut element: Option<Self::Item> = None;
        source.read(&mut store, &mut element)?;
        if let Some(Element(value)) = element {
            self.sink.push(value).map_err(LimitReached::Sink)?;
        }
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

/// Passes bytes on, as many as come at once.
struct Bytes {
    sink: Arc<dyn Sink>,
    _ended: oneshot::Sender<()>,
}

impl StreamConsumer<CallState> for Bytes {
    type Item = u8;

    fn poll_consume(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut store: StoreContextMut<'_, CallState>,
        mut source: Source<'_, u8>,
        finish: bool,
    ) -> Poll<Result<StreamResult>> {
        match ready(&*self.sink, context, finish) {
            Poll::Ready(Ok(None)) => {}
            Poll::Ready(Ok(Some(result))) => return Poll::Ready(Ok(result)),
            Poll::Ready(Err(failure)) => {
                return Poll::Ready(Err(LimitReached::Sink(failure).into()));
            }
            Poll::Pending => return Poll::Pending,
        }
        let mut bytes = Vec::with_capacity(source.remaining(&mut store).min(BYTES_AT_ONCE));
        source.read(&mut store, &mut bytes)?;
        if !bytes.is_empty() {
            self.sink.push(Value::Packed(bytes.into())).map_err(LimitReached::Sink)?;
        }
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

/// Whether there is room. If not, the reply to a guest that does not want to wait.
fn ready(
    sink: &dyn Sink,
    context: &mut Context<'_>,
    finish: bool,
) -> Poll<Result<Option<StreamResult>, GuestFailure>> {
    match sink.poll_ready(context) {
        Poll::Ready(Ok(())) => Poll::Ready(Ok(None)),
        Poll::Ready(Err(failure)) => Poll::Ready(Err(failure)),
        Poll::Pending if finish => Poll::Ready(Ok(Some(StreamResult::Cancelled))),
        Poll::Pending => Poll::Pending,
    }
}
