//! A component parsed into its instantiation steps. Definitions that do not affect instance counts are only counted.

use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, Encoding,
    Instance, Parser, Payload,
};

use super::{ExtentError, MODULES_MAX};
use crate::bundle::NESTING_MAX;

/// What can be instantiated, or lead to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Module,
    Component,
    Instance,
}

impl Sort {
    fn of(kind: ComponentExternalKind) -> Option<Self> {
        match kind {
            ComponentExternalKind::Module => Some(Sort::Module),
            ComponentExternalKind::Component => Some(Sort::Component),
            ComponentExternalKind::Instance => Some(Sort::Instance),
            ComponentExternalKind::Func
            | ComponentExternalKind::Value
            | ComponentExternalKind::Type => None,
        }
    }
}

/// The exports of a core module's instance.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Module {
    pub(super) memories: usize,
    pub(super) tables: usize,
}

/// A captured outer value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Capture {
    /// Defined by the enclosing component.
    Around(Sort, u32),
    /// Captured by the enclosing component itself.
    Further(Sort, usize),
}

/// Names, sorts and indices of arguments or exports.
type Items<'a> = Box<[(&'a str, Sort, u32)]>;

/// One step of an instantiation.
#[derive(Debug)]
pub(super) enum Step<'a> {
    Module(Module),
    /// An index into [`Plan::components`].
    Component(usize),
    /// An index into the component's captures.
    Captured(Sort, usize),
    Copy(Sort, u32),
    Import(&'a str, Sort),
    Alias(u32, &'a str, Sort),
    Export(&'a str, Sort, u32),
    InstantiateModule(u32),
    Instantiate(u32, Items<'a>),
    Bundle(Items<'a>),
    /// A number of definitions that lead to no instance.
    Other(usize),
}

impl Step<'_> {
    /// How many definitions it evaluates.
    pub(super) fn definitions(&self) -> usize {
        match self {
            Step::Other(count) => *count,
            Step::Instantiate(_, items) | Step::Bundle(items) => items.len().saturating_add(1),
            _ => 1,
        }
    }
}

/// One component as written.
#[derive(Debug, Default)]
pub(super) struct Component<'a> {
    pub(super) steps: Vec<Step<'a>>,
    pub(super) captures: Vec<Capture>,
}

impl<'a> Component<'a> {
    fn skip(&mut self, count: usize) {
        match self.steps.last_mut() {
            Some(Step::Other(before)) => *before = before.saturating_add(count),
            _ => self.steps.push(Step::Other(count)),
        }
    }

    fn add(&mut self, step: Option<Step<'a>>) {
        match step {
            Some(step) => self.steps.push(step),
            None => self.skip(1),
        }
    }
}

/// All components of a binary, outermost first.
#[derive(Debug, Default)]
pub(super) struct Plan<'a> {
    pub(super) components: Vec<Component<'a>>,
}

/// The item being parsed.
enum Open {
    Component(usize),
    Module(Module),
}

impl<'a> Plan<'a> {
    /// Parses a component and keeps at most `definitions_max` steps.
    pub(super) fn read(binary: &'a [u8], definitions_max: usize) -> Result<Self, ExtentError> {
        let (plan, open) = (Self::default(), Vec::new());
        let mut reading = Reading { plan, open, modules: 0, kept: 0, kept_max: definitions_max };
        for payload in Parser::new(0).parse_all(binary) {
            reading.payload(payload.map_err(ExtentError::Invalid)?)?;
            // A section is no longer than its bytes; captures of outer values add to it.
            reading.check()?;
        }
        if reading.plan.components.is_empty() {
            // A core module: the engine checks it.
            reading.plan.components.push(Component::default());
        }
        Ok(reading.plan)
    }
}

struct Reading<'a> {
    plan: Plan<'a>,
    open: Vec<Open>,
    modules: usize,
    /// Steps, captures and items of the plan.
    kept: usize,
    kept_max: usize,
}

impl<'a> Reading<'a> {
    fn check(&self) -> Result<(), ExtentError> {
        if self.kept > self.kept_max {
            let (max, limit) = (self.kept_max, "`sandbox.definitions_max`");
            return Err(ExtentError::TooMany { what: "definitions", max, limit });
        }
        Ok(())
    }

    /// The component being parsed; `None` inside a module.
    fn component(&mut self) -> Option<&mut Component<'a>> {
        match self.open.last() {
            Some(Open::Component(component)) => self.plan.components.get_mut(*component),
            Some(Open::Module(_)) | None => None,
        }
    }

    fn payload(&mut self, payload: Payload<'a>) -> Result<(), ExtentError> {
        match payload {
            Payload::Version { encoding, .. } => self.begin(encoding)?,
            Payload::End(_) => self.end(),
            Payload::MemorySection(section) => {
                if let Some(Open::Module(module)) = self.open.last_mut() {
                    module.memories = module.memories.saturating_add(section.count() as usize);
                }
            }
            Payload::TableSection(section) => {
                if let Some(Open::Module(module)) = self.open.last_mut() {
                    module.tables = module.tables.saturating_add(section.count() as usize);
                }
            }
            payload => {
                if let Some(Open::Component(_)) = self.open.last() {
                    self.section(payload)?;
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, encoding: Encoding) -> Result<(), ExtentError> {
        if self.open.len() >= NESTING_MAX {
            let (max, limit) = (NESTING_MAX, "no host takes more");
            return Err(ExtentError::TooMany { what: "nested components", max, limit });
        }
        match encoding {
            Encoding::Component => {
                self.plan.components.push(Component::default());
                self.open.push(Open::Component(self.plan.components.len() - 1));
            }
            Encoding::Module => {
                self.modules = self.modules.saturating_add(1);
                if self.modules > MODULES_MAX {
                    let (max, limit) = (MODULES_MAX, "no host takes more");
                    return Err(ExtentError::TooMany { what: "core modules", max, limit });
                }
                self.open.push(Open::Module(Module::default()));
            }
        }
        Ok(())
    }

    fn end(&mut self) {
        let step = match self.open.pop() {
            Some(Open::Component(component)) => Step::Component(component),
            Some(Open::Module(module)) => Step::Module(module),
            None => return,
        };
        if let Some(around) = self.component() {
            around.steps.push(step);
        }
    }

    fn section(&mut self, payload: Payload<'a>) -> Result<(), ExtentError> {
        match payload {
            Payload::InstanceSection(section) => {
                for instance in section {
                    let step = match instance.map_err(ExtentError::Invalid)? {
                        Instance::Instantiate { module_index, args } => {
                            self.skip(args.len());
                            Some(Step::InstantiateModule(module_index))
                        }
                        Instance::FromExports(exports) => {
                            self.skip(exports.len());
                            None
                        }
                    };
                    self.add(step);
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section {
                    self.instance(instance.map_err(ExtentError::Invalid)?);
                    self.check()?;
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    self.alias(&alias.map_err(ExtentError::Invalid)?);
                    self.check()?;
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section {
                    let import = import.map_err(ExtentError::Invalid)?;
                    let sort = Sort::of(import.ty.kind());
                    self.add(sort.map(|sort| Step::Import(import.name.name, sort)));
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    let export = export.map_err(ExtentError::Invalid)?;
                    let sort = Sort::of(export.kind);
                    self.add(sort.map(|sort| Step::Export(export.name.name, sort, export.index)));
                }
            }
            Payload::ComponentCanonicalSection(section) => self.skip(section.count() as usize),
            Payload::ComponentTypeSection(section) => self.skip(section.count() as usize),
            Payload::CoreTypeSection(section) => self.skip(section.count() as usize),
            _ => {}
        }
        Ok(())
    }

    fn skip(&mut self, count: usize) {
        if let Some(component) = self.component() {
            component.skip(count);
        }
    }

    fn add(&mut self, step: Option<Step<'a>>) {
        self.kept = self.kept.saturating_add(step.as_ref().map_or(0, Step::definitions));
        if let Some(component) = self.component() {
            component.add(step);
        }
    }

    fn instance(&mut self, instance: ComponentInstance<'a>) {
        let (step, skipped) = match instance {
            ComponentInstance::Instantiate { component_index, args } => {
                let all = args.len();
                let args = args.iter().map(|arg| (arg.name, arg.kind, arg.index));
                let items = items(args);
                let skipped = all - items.len();
                (Step::Instantiate(component_index, items), skipped)
            }
            ComponentInstance::FromExports(exports) => {
                let all = exports.len();
                let exports = exports.iter().map(|item| (item.name.name, item.kind, item.index));
                let items = items(exports);
                let skipped = all - items.len();
                (Step::Bundle(items), skipped)
            }
        };
        self.skip(skipped);
        self.add(Some(step));
    }

    fn alias(&mut self, alias: &ComponentAlias<'a>) {
        let step = match *alias {
            ComponentAlias::InstanceExport { kind, instance_index, name } => {
                Sort::of(kind).map(|sort| Step::Alias(instance_index, name, sort))
            }
            ComponentAlias::CoreInstanceExport { .. } => None,
            ComponentAlias::Outer { kind, count, index } => {
                let sort = match kind {
                    ComponentOuterAliasKind::CoreModule => Some(Sort::Module),
                    ComponentOuterAliasKind::Component => Some(Sort::Component),
                    ComponentOuterAliasKind::CoreType | ComponentOuterAliasKind::Type => None,
                };
                sort.and_then(|sort| self.outer(sort, count as usize, index))
            }
        };
        self.add(step);
    }

    /// A value from `count` components further out is captured by every component in between. At most [`NESTING_MAX`] of them.
    fn outer(&mut self, sort: Sort, count: usize, index: u32) -> Option<Step<'a>> {
        if count == 0 {
            return Some(Step::Copy(sort, index));
        }
        let here = self.open.len().checked_sub(1)?;
        let from = here.checked_sub(count)?;
        let mut capture = Capture::Around(sort, index);
        for open in &self.open[from + 1..=here] {
            let Open::Component(component) = open else { return None };
            let captures = &mut self.plan.components[*component].captures;
            captures.push(capture);
            self.kept = self.kept.saturating_add(1);
            capture = Capture::Further(sort, captures.len() - 1);
        }
        match capture {
            Capture::Further(sort, place) => Some(Step::Captured(sort, place)),
            Capture::Around(..) => None,
        }
    }
}

/// The items of `all` that can be instantiated or lead to it.
fn items<'a>(all: impl Iterator<Item = (&'a str, ComponentExternalKind, u32)>) -> Items<'a> {
    all.filter_map(|(name, kind, index)| Some((name, Sort::of(kind)?, index))).collect()
}
