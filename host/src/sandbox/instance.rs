//! A fresh instance that serves one call.

use std::pin::pin;
use std::sync::Arc;

use wasmtime::component::{ComponentExportIndex, Func, Resource, TypedFunc};
use wasmtime::{Store, Trap};
use wasmtime_wasi::I32Exit;

use super::Entry;
use super::canonical::{Arguments, Lifted};
use super::context::CallState;
use super::http::{self, Preview};
use super::interface::{FunctionType, GuestFunction, Handles};
use super::limits::{CallLimits, LimitReached, Refused};
use super::slice::Work;
use super::start::Started;
use super::stop::CpuClock;
use super::stream::{self, Begun};
use super::threads::Shared;
use super::wasi_nn::GuestTensor;
use crate::outcome::{Answer, GuestFailure, Outcome, Used};
use crate::stop::Cause;
use crate::tensor::Tensor;
use crate::value::{Type, Value};

/// The arguments of one call, checked against the function's types.
#[derive(Debug)]
pub enum Input {
    Values(Vec<Value>),
    Tensors(Vec<(String, Tensor)>),
    /// Values of a typed function, with its tensors by parameter name.
    Handed(Vec<Value>, Vec<(String, Tensor)>),
    /// A request to an HTTP handler.
    Request(Box<::http::Request<http::Body>>),
}

impl Input {
    /// Rows of the call's batch, at least 1: the largest first dimension of a tensor, or the length of the longest non-numeric list among
    /// the arguments.
    pub fn rows(&self) -> u64 {
        let rows = match self {
            Input::Values(values) => longest(values),
            Input::Tensors(tensors) => first_of_largest(tensors),
            Input::Handed(values, tensors) => longest(values).max(first_of_largest(tensors)),
            Input::Request(_) => None,
        };
        rows.unwrap_or(1).max(1) as u64
    }

    /// The tensors among the arguments.
    pub fn tensors(&self) -> &[(String, Tensor)] {
        match self {
            Input::Values(_) | Input::Request(_) => &[],
            Input::Tensors(tensors) | Input::Handed(_, tensors) => tensors,
        }
    }
}

/// Length of the longest non-numeric list.
fn longest(values: &[Value]) -> Option<usize> {
    let lists = values.iter().filter_map(|value| match value {
        Value::List(items) => Some(items.len()),
        _ => None,
    });
    lists.max()
}

fn first_of_largest(tensors: &[(String, Tensor)]) -> Option<usize> {
    let largest = tensors.iter().max_by_key(|(_, tensor)| tensor.data().len());
    largest.and_then(|(_, tensor)| tensor.shape().first().copied())
}

/// A fresh instance, ready for its only call.
pub struct Instance {
    pub(super) wasm_store: Store<CallState>,
    /// The instance, or the start's failure, which is then the call's.
    pub(super) started: Started,
    /// Whether the guest may wait for anything besides inference. Only WASI permits that.
    pub(super) may_wait: bool,
    pub(super) threads: Arc<Shared>,
}

/// The typed form of `hospes:plugin/inference#infer`.
type NamedTensors = Vec<(String, Resource<GuestTensor>)>;
type Infer = TypedFunc<(NamedTensors,), (Result<NamedTensors, String>,)>;

impl Instance {
    /// Runs `function` and tears the instance down, whatever happens. At most one slice runs here, the rest on the guest threads. A failed
    /// start is the call's outcome.
    pub async fn run(self, function: Entry, input: Input) -> Outcome<Answer> {
        let state = self.wasm_store.data();
        let (account, pace) = (state.context.account.clone(), function.pace.clone());
        let sizes = (state.context.input_bytes, state.growth.memory_bytes());
        let threads = Arc::clone(&self.threads);
        Work::new(threads, account, pace, sizes, self.compute(function, input)).await
    }

    async fn compute(mut self, function: Entry, input: Input) -> Outcome<Answer> {
        let answer = match self.started {
            Ok(_) => self.answer(&function, input).await,
            Err(ref mut error) => Err(std::mem::replace(error, LimitReached::Starting.into())),
        };
        let wall = self.wasm_store.data().limits.began.elapsed();
        self.wasm_store.data_mut().flush_output();
        let state = self.wasm_store.data();
        let (memory_bytes, meter) = (state.growth.memory_bytes() as u64, Arc::clone(&state.meter));
        let result = answer.map_err(|error| failure(&error, state));
        // Sequences that are still open end here, and give back the tokens that they have not used.
        drop(self.wasm_store);
        let used = Used { wall, memory_bytes, spoken: meter.spoken() };
        Outcome { result, used, released: bytes::Bytes::new() }
    }

    /// The failure of the start, if it failed.
    pub fn start_failure(&self) -> Option<GuestFailure> {
        self.started.as_ref().err().map(|error| failure(error, self.wasm_store.data()))
    }

    /// The response of `function`, by the call's deadline.
    async fn answer(&mut self, function: &GuestFunction, input: Input) -> wasmtime::Result<Answer> {
        let deadline = tokio::time::Instant::from_std(self.wasm_store.data().limits.deadline);
        let may_wait = self.may_wait || matches!(function.signature, FunctionType::Stream { .. });
        let stop = self.wasm_store.data().context.stop.clone();
        let cpu = self.wasm_store.data().cpu.clone();
        // Pin once here: moves around it then copy a pointer, not the call.
        let mut call = pin!(self.call(function, input));
        let call = async {
            match cpu {
                Some(cpu) => CpuClock::measure(cpu, call.as_mut()).await,
                None => call.as_mut().await,
            }
        };
        if !may_wait {
            return call.await;
        }
        tokio::select! {
            biased;
            cause = stop.wait() => Err(LimitReached::Ended(cause).into()),
            ended = tokio::time::timeout_at(deadline, call) => match ended {
                Ok(answer) => answer,
                Err(_elapsed) => Err(LimitReached::Deadline.into()),
            },
        }
    }

    /// The future of a plain call is small, because it is moved often. Others are boxed.
    async fn call(&mut self, function: &GuestFunction, input: Input) -> wasmtime::Result<Answer> {
        match (input, &function.signature) {
            (Input::Tensors(inputs), FunctionType::Tensors) => self.infer(function, inputs).await,
            (Input::Values(values) | Input::Handed(values, _), FunctionType::Values { .. }) => {
                self.values(function, values).await
            }
            (
                Input::Values(values) | Input::Handed(values, _),
                FunctionType::Stream { element, fallible, .. },
            ) => Box::pin(self.stream(function, values, (element, *fallible))).await,
            (Input::Request(request), FunctionType::Http(preview)) => {
                Box::pin(self.respond(function, *request, *preview)).await
            }
            (_, _) => {
                unreachable!("invariant: input is read by the signature of the function it is for")
            }
        }
    }

    async fn values(
        &mut self,
        function: &GuestFunction,
        values: Vec<Value>,
    ) -> wasmtime::Result<Answer> {
        let values = self.with_handles(&function.handles, values).await?;
        let mut lifted = self.invoke(&function.index, values).await?;
        if function.handles.tensors {
            let state = self.wasm_store.data_mut();
            lifted.iter_mut().try_for_each(|v| v.each_tensor(&mut |v| state.take_out(v)))?;
        }
        Ok(match lifted {
            Some(Value::Result(Ok(ok))) => Answer::Value(ok.map(|value| *value)),
            Some(Value::Result(Err(err))) => Answer::Refusal(err.map(|value| *value)),
            value => Answer::Value(value),
        })
    }

    /// Passes tensors in and constructs the plugin's own resources; the arguments are their handles.
    async fn with_handles(
        &mut self,
        handles: &Handles,
        mut values: Vec<Value>,
    ) -> wasmtime::Result<Vec<Value>> {
        if handles.tensors {
            let state = self.wasm_store.data_mut();
            values.iter_mut().try_for_each(|value| value.each_tensor(&mut |v| state.hand_in(v)))?;
        }
        if !handles.constructors.is_empty() {
            Box::pin(self.make_all(handles, &mut values)).await?;
        }
        Ok(values)
    }

    /// Calls the export at `index` with `values`, which match its parameters.
    async fn invoke(
        &mut self,
        index: &ComponentExportIndex,
        values: Vec<Value>,
    ) -> wasmtime::Result<Option<Value>> {
        let func = self.func(index)?;
        #[expect(
            unsafe_code,
            reason = "the types of a call are only known when a bundle is deployed"
        )]
        // SAFETY: `Arguments` and `Lifted` read the function's real types from the component at each call, so they fit every function.
        // `values` were parsed by the same types.
        let func = unsafe { TypedFunc::<Arguments, Lifted>::new_unchecked(func) };
        Ok(func.call_async(&mut self.wasm_store, Arguments(values)).await?.0)
    }

    /// Constructs the plugin's own resources among `values` and replaces them by their handles.
    async fn make_all(&mut self, handles: &Handles, values: &mut [Value]) -> wasmtime::Result<()> {
        for value in values {
            match value {
                // A constructor's arguments come first.
                Value::Unmade(position, arguments) => {
                    let mut arguments = std::mem::take(arguments);
                    Box::pin(self.make_all(handles, &mut arguments)).await?;
                    let made = self.invoke(&handles.constructors[*position], arguments).await?;
                    *value = made.expect("invariant: a constructor returns what it has made");
                }
                Value::List(values) | Value::Record(values) | Value::Tuple(values) => {
                    Box::pin(self.make_all(handles, values)).await?;
                }
                Value::Variant(_, Some(value))
                | Value::Option(Some(value))
                | Value::Result(Ok(Some(value)) | Err(Some(value))) => {
                    Box::pin(self.make_all(handles, std::slice::from_mut(value))).await?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn stream(
        &mut self,
        function: &GuestFunction,
        values: Vec<Value>,
        element: (&Type, bool),
    ) -> wasmtime::Result<Answer> {
        let func = self.func(&function.index)?;
        let Some(sink) = self.wasm_store.data().context.sink.clone() else {
            return Err(LimitReached::Sink(GuestFailure::OutputUnsendable {
                reason: "the function returns a stream, which this protocol does not support"
                    .into(),
            })
            .into());
        };
        let values = self.with_handles(&function.handles, values).await?;
        let run = self.wasm_store.run_concurrent(async |accessor| {
            stream::run(accessor, func, values, element, sink).await
        });
        Ok(match run.await?? {
            Begun::Streamed => Answer::Streamed,
            Begun::Refused(refusal) => Answer::Refusal(Some(refusal)),
        })
    }

    async fn respond(
        &mut self,
        function: &GuestFunction,
        request: ::http::Request<http::Body>,
        preview: Preview,
    ) -> wasmtime::Result<Answer> {
        let func = self.func(&function.index)?;
        let responder = self.wasm_store.data().context.responder.clone();
        let responder = responder.expect("invariant: requests come with where responses go");
        let wasm_store = &mut self.wasm_store;
        match preview {
            Preview::Two => http::preview2(wasm_store, func, request, &*responder).await?,
            Preview::Three => http::preview3(wasm_store, func, request, &*responder).await?,
        }
        Ok(Answer::Streamed)
    }

    async fn infer(
        &mut self,
        function: &GuestFunction,
        inputs: Vec<(String, Tensor)>,
    ) -> wasmtime::Result<Answer> {
        let func = self.func(&function.index)?;
        let func: Infer = func.typed(&self.wasm_store)?;
        let state = self.wasm_store.data_mut();
        let inputs = inputs
            .into_iter()
            .map(|(name, tensor)| Ok((name, state.push_tensor(GuestTensor::Sound(tensor))?)))
            .collect::<wasmtime::Result<Vec<_>>>()?;
        let (result,) = func.call_async(&mut self.wasm_store, (inputs,)).await?;
        let outputs = match result {
            Ok(outputs) => outputs,
            Err(message) => return Ok(Answer::Refusal(Some(Value::String(message.into())))),
        };
        let state = self.wasm_store.data_mut();
        let mut tensors = Vec::with_capacity(outputs.len());
        for (name, handle) in outputs {
            match state.take_tensor(handle)? {
                GuestTensor::Sound(tensor) => tensors.push((name, tensor)),
                GuestTensor::Defective { why, .. } => {
                    return Err(wasmtime::format_err!("output `{name}` is not a tensor: {why}"));
                }
            }
        }
        Ok(Answer::Tensors(tensors))
    }

    fn func(&mut self, index: &ComponentExportIndex) -> wasmtime::Result<Func> {
        let Ok(instance) = &self.started else { return Err(LimitReached::Starting.into()) };
        let func = instance.get_func(&mut self.wasm_store, index);
        func.ok_or_else(|| wasmtime::format_err!("the export is not a function"))
    }
}

/// Determines why a call ended without a response.
fn failure(error: &wasmtime::Error, state: &CallState) -> GuestFailure {
    let limits = &state.limits;
    if let Some(limit) = error.downcast_ref::<LimitReached>() {
        return match limit {
            LimitReached::Deadline => {
                let allowed = limits.deadline.saturating_duration_since(limits.began);
                GuestFailure::Deadline { allowed }
            }
            LimitReached::Tensors { .. } => GuestFailure::TensorLimit { reason: limit.to_string() },
            LimitReached::Shared(exhausted) => GuestFailure::HostMemory { max: exhausted.max },
            LimitReached::Cpu { max } => GuestFailure::CpuTime { allowed: *max },
            LimitReached::Ended(Cause::Stopped) => GuestFailure::Stopped,
            LimitReached::Ended(Cause::Left) => GuestFailure::Disconnected,
            LimitReached::Starting => GuestFailure::Trap { reason: limit.to_string() },
            LimitReached::Gate(reason) => GuestFailure::Terms { reason: reason.clone() },
            LimitReached::Sink(failure) => failure.clone(),
        };
    }
    if error.is::<wasmtime::component::ResourceTableError>() {
        return GuestFailure::HandleLimit { max: limits.resources_max };
    }
    if error.downcast_ref::<Trap>() == Some(&Trap::StackOverflow) {
        return GuestFailure::StackOverflow;
    }
    match state.growth.refused() {
        Some(Refused::Memory) => GuestFailure::MemoryLimit { max: limits.memory_bytes_max },
        Some(Refused::Shared(exhausted)) => GuestFailure::HostMemory { max: exhausted.max },
        Some(Refused::Table) => GuestFailure::TableLimit { max: limits.table_elements_max },
        None => trap(error, limits),
    }
}

fn trap(error: &wasmtime::Error, limits: &CallLimits) -> GuestFailure {
    if let Some(I32Exit(code)) = error.downcast_ref::<I32Exit>() {
        return GuestFailure::Trap { reason: format!("it exited with code {code}") };
    }
    let reason = error.root_cause().to_string();
    // Wasmtime has no types for these errors, so match their texts. Tests check that they still match.
    if reason.contains("fuel allocated for hostcalls") {
        return GuestFailure::HostcallLimit { max: limits.hostcall_bytes_max };
    }
    if reason.contains("store handle limit exceeded") {
        return GuestFailure::HandleLimit { max: limits.resources_max };
    }
    GuestFailure::Trap { reason }
}
