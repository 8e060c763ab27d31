//! Counts what instantiating a component would take, before any engine sees it.
//!
//! Components nest: two kilobytes can ask for 2^30 instances, and the compiler unrolls all of them before the pool checks its limits. So
//! instantiation is simulated here with names and counts only, up to the first limit. [`ExtentLimits::definitions`] bounds the work, and
//! with the component's size also the memory.
//!
//! Nothing is validated here: the compiler rejects invalid components. An index out of range counts as unknown.

mod plan;

use std::collections::HashMap;

use wasmparser::{BinaryReaderError, Parser, Payload, Validator, WasmFeatures};

use plan::{Capture, Module, Plan, Sort, Step};

/// Maximum core modules of a component, including nested ones: each is compiled separately.
const MODULES_MAX: usize = 256;

/// Why a component is rejected before it is compiled.
#[derive(Debug, thiserror::Error)]
pub enum ExtentError {
    #[error("it is not valid WebAssembly")]
    Invalid(#[source] BinaryReaderError),
    #[error(
        "it takes more than {max} {what} ({limit}), counting all that it instantiates: instantiate less"
    )]
    TooMany { what: &'static str, max: usize, limit: &'static str },
}

/// Limits of one component, over everything that it instantiates.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExtentLimits {
    /// `sandbox.instances_max`.
    pub(super) core_instances: usize,
    /// `sandbox.components_max`.
    pub(super) components: usize,
    /// `sandbox.definitions_max`.
    pub(super) definitions: usize,
    pub(super) memories: usize,
    pub(super) tables: usize,
}

/// A component's counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// Instantiated core modules.
    pub(super) core_instances: usize,
    /// Instantiated inner components.
    pub(super) components: usize,
    /// Evaluated definitions: instances, aliases, imports, exports, functions, types.
    pub(super) definitions: usize,
    pub(super) memories: usize,
    pub(super) tables: usize,
}

impl Extent {
    /// Counts the cost of `component`.
    ///
    /// # Errors
    /// [`ExtentError::TooMany`] at the first of `limits` that it exceeds.
    pub(super) fn measure(component: &[u8], limits: &ExtentLimits) -> Result<Self, ExtentError> {
        let plan = Plan::read(component, limits.definitions)?;
        Instantiation::new(&plan, limits).run()
    }

    fn check(&self, limits: &ExtentLimits) -> Result<(), ExtentError> {
        let counted = [
            (
                self.core_instances,
                limits.core_instances,
                "core instances",
                "`sandbox.instances_max`",
            ),
            (
                self.components,
                limits.components,
                "instances of components",
                "`sandbox.components_max`",
            ),
            (self.definitions, limits.definitions, "definitions", "`sandbox.definitions_max`"),
            (self.memories, limits.memories, "memories", "no host gives more"),
            (self.tables, limits.tables, "tables", "no host gives more"),
        ];
        for (count, max, what, limit) in counted {
            if count > max {
                return Err(ExtentError::TooMany { what, max, limit });
            }
        }
        Ok(())
    }
}

/// The interface whose functions are linked only where streams are, whichever of them a component imports.
const LANGUAGE: &str = "hospes:plugin/language@";

/// Whether a component needs the engine with streams and `async` functions.
pub(super) fn needs_streams(component: &[u8]) -> bool {
    let mut without = WasmFeatures::all();
    without.remove(
        WasmFeatures::CM_ASYNC
            | WasmFeatures::CM_ASYNC_STACKFUL
            | WasmFeatures::CM_MORE_ASYNC_BUILTINS
            | WasmFeatures::CM_THREADING
            | WasmFeatures::CM_ERROR_CONTEXT,
    );
    let mut validator = Validator::new_with_features(without);
    let mut parser = Parser::new(0);
    parser.set_features(without);
    parser.parse_all(component).any(|payload| {
        payload.is_err()
            || payload.as_ref().is_ok_and(imports_language)
            || payload.and_then(|payload| validator.payload(&payload).map(drop)).is_err()
    })
}

fn imports_language(payload: &Payload<'_>) -> bool {
    let Payload::ComponentImportSection(imports) = payload else { return false };
    let mut imports = imports.clone().into_iter().flatten();
    imports.any(|import| import.name.name.starts_with(LANGUAGE))
}

/// What an index stands for in the simulation; `None` if it is the host's or unknown.
#[derive(Debug, Clone, Copy)]
enum Entity {
    Module(Option<Module>),
    /// A component with its captures: an index into [`Instantiation::closures`].
    Component(Option<usize>),
    /// An index into [`Instantiation::instances`].
    Instance(Option<usize>),
}

/// A component with its captured outer values.
struct Closure {
    component: usize,
    captured: Vec<Entity>,
}

/// One component being instantiated.
#[derive(Default)]
struct Frame<'a> {
    component: usize,
    next: usize,
    captured: Vec<Entity>,
    arguments: HashMap<&'a str, Entity>,
    modules: Vec<Entity>,
    components: Vec<Entity>,
    instances: Vec<Entity>,
    exports: HashMap<&'a str, Entity>,
}

impl Frame<'_> {
    fn space(&mut self, sort: Sort) -> &mut Vec<Entity> {
        match sort {
            Sort::Module => &mut self.modules,
            Sort::Component => &mut self.components,
            Sort::Instance => &mut self.instances,
        }
    }

    fn get(&mut self, sort: Sort, index: u32) -> Entity {
        let found = self.space(sort).get(index as usize).copied();
        found.unwrap_or_else(|| Entity::unknown(sort))
    }
}

impl Entity {
    fn unknown(sort: Sort) -> Self {
        match sort {
            Sort::Module => Entity::Module(None),
            Sort::Component => Entity::Component(None),
            Sort::Instance => Entity::Instance(None),
        }
    }
}

/// Simulates an instantiation. Recursion uses an explicit stack, because outsiders choose the depth.
struct Instantiation<'p, 'a> {
    plan: &'p Plan<'a>,
    limits: &'p ExtentLimits,
    extent: Extent,
    closures: Vec<Closure>,
    instances: Vec<HashMap<&'a str, Entity>>,
    stack: Vec<Frame<'a>>,
}

impl<'p, 'a> Instantiation<'p, 'a> {
    fn new(plan: &'p Plan<'a>, limits: &'p ExtentLimits) -> Self {
        Self {
            plan,
            limits,
            extent: Extent::default(),
            closures: Vec::new(),
            instances: Vec::new(),
            stack: vec![Frame::default()],
        }
    }

    fn run(mut self) -> Result<Extent, ExtentError> {
        while let Some(mut frame) = self.stack.pop() {
            match self.plan.components[frame.component].steps.get(frame.next) {
                Some(step) => {
                    frame.next += 1;
                    let deeper = self.step(&mut frame, step)?;
                    self.stack.push(frame);
                    self.stack.extend(deeper);
                }
                None => {
                    self.instances.push(frame.exports);
                    let instance = Entity::Instance(Some(self.instances.len() - 1));
                    if let Some(outer) = self.stack.last_mut() {
                        outer.instances.push(instance);
                    }
                }
            }
        }
        Ok(self.extent)
    }

    /// Takes one step. If it instantiates a component, returns the new frame.
    fn step(
        &mut self,
        frame: &mut Frame<'a>,
        step: &'p Step<'a>,
    ) -> Result<Option<Frame<'a>>, ExtentError> {
        self.spend(step.definitions())?;
        match step {
            Step::Other(_) => {}
            Step::Module(module) => frame.modules.push(Entity::Module(Some(*module))),
            Step::Component(component) => {
                let closure = self.close(frame, *component)?;
                frame.components.push(Entity::Component(Some(closure)));
            }
            Step::Captured(sort, place) => {
                let value = frame.captured.get(*place).copied();
                frame.space(*sort).push(value.unwrap_or_else(|| Entity::unknown(*sort)));
            }
            Step::Copy(sort, index) => {
                let value = frame.get(*sort, *index);
                frame.space(*sort).push(value);
            }
            Step::Import(name, sort) => {
                let value = frame.arguments.get(name).copied();
                frame.space(*sort).push(value.unwrap_or_else(|| Entity::unknown(*sort)));
            }
            Step::Alias(instance, name, sort) => {
                let value = self.member(frame.get(Sort::Instance, *instance), name);
                frame.space(*sort).push(value.unwrap_or_else(|| Entity::unknown(*sort)));
            }
            Step::Export(name, sort, index) => {
                let value = frame.get(*sort, *index);
                frame.exports.insert(name, value);
                frame.space(*sort).push(value);
            }
            Step::InstantiateModule(index) => {
                let module = frame.get(Sort::Module, *index);
                self.count_module(module)?;
            }
            Step::Bundle(items) => {
                let exports =
                    items.iter().map(|(name, sort, index)| (*name, frame.get(*sort, *index)));
                let exports = exports.collect();
                self.instances.push(exports);
                frame.instances.push(Entity::Instance(Some(self.instances.len() - 1)));
            }
            Step::Instantiate(index, arguments) => {
                self.extent.components = self.extent.components.saturating_add(1);
                self.extent.check(self.limits)?;
                let component = frame.get(Sort::Component, *index);
                let Entity::Component(Some(closure)) = component else {
                    frame.instances.push(Entity::Instance(None));
                    return Ok(None);
                };
                let arguments =
                    arguments.iter().map(|(name, sort, index)| (*name, frame.get(*sort, *index)));
                let arguments = arguments.collect();
                self.spend(self.closures[closure].captured.len())?;
                let Closure { component, captured } = &self.closures[closure];
                let (component, captured) = (*component, captured.clone());
                return Ok(Some(Frame { component, captured, arguments, ..Frame::default() }));
            }
        }
        Ok(None)
    }

    /// Captures a component's outer values as they are now.
    fn close(&mut self, frame: &mut Frame<'a>, component: usize) -> Result<usize, ExtentError> {
        let captures = &self.plan.components[component].captures;
        self.spend(captures.len())?;
        let captured = captures.iter().map(|capture| match *capture {
            Capture::Around(sort, index) => frame.get(sort, index),
            Capture::Further(sort, place) => {
                frame.captured.get(place).copied().unwrap_or_else(|| Entity::unknown(sort))
            }
        });
        let captured = captured.collect();
        self.closures.push(Closure { component, captured });
        Ok(self.closures.len() - 1)
    }

    fn member(&self, instance: Entity, name: &str) -> Option<Entity> {
        let Entity::Instance(Some(instance)) = instance else { return None };
        self.instances.get(instance)?.get(name).copied()
    }

    fn spend(&mut self, definitions: usize) -> Result<(), ExtentError> {
        self.extent.definitions = self.extent.definitions.saturating_add(definitions);
        self.extent.check(self.limits)
    }

    fn count_module(&mut self, module: Entity) -> Result<(), ExtentError> {
        let extent = &mut self.extent;
        extent.core_instances = extent.core_instances.saturating_add(1);
        if let Entity::Module(Some(module)) = module {
            extent.memories = extent.memories.saturating_add(module.memories);
            extent.tables = extent.tables.saturating_add(module.tables);
        }
        extent.check(self.limits)
    }
}

#[cfg(test)]
mod tests;
