//! The resources that a component's functions may take: the host's tensors, and its own if the host can construct them.

use wasmtime::Engine;
use wasmtime::component::types::{ComponentFunc, ComponentItem, Type};
use wasmtime::component::{Component, ComponentExportIndex, ResourceType};

/// The import that defines the resource `tensor`.
const TENSOR_INTERFACE: &str = "wasi:nn/tensor@0.2.0-rc-2024-10-28";

/// Prefix of exported constructors (component model, "Import and Export Definitions").
const CONSTRUCTOR: &str = "[constructor]";

/// A component's resource types.
pub(in crate::sandbox) struct Resources {
    /// The host's tensors, if it imports them.
    tensor: Option<ResourceType>,
    /// Those that it defines, with constructors.
    made: Vec<Made>,
}

/// A resource that a component defines, with its constructor.
pub(super) struct Made {
    resource: ResourceType,
    pub(super) name: String,
    pub(super) ty: ComponentFunc,
    pub(super) index: ComponentExportIndex,
}

impl Resources {
    /// The resources of `component`.
    pub(in crate::sandbox) fn of(engine: &Engine, component: &Component) -> Self {
        Self { tensor: tensor(engine, component), made: made(engine, component) }
    }

    pub(super) fn is_tensor(&self, resource: &ResourceType) -> bool {
        self.tensor.as_ref() == Some(resource)
    }

    pub(super) fn made(&self, resource: &ResourceType) -> Option<&Made> {
        self.made.iter().find(|made| made.resource == *resource)
    }
}

fn tensor(engine: &Engine, component: &Component) -> Option<ResourceType> {
    let ty = component.component_type();
    let mut imports = ty.imports(engine);
    let (_, interface) = imports.find(|(name, _)| *name == TENSOR_INTERFACE)?;
    let ComponentItem::ComponentInstance(interface) = interface.ty else { return None };
    match interface.get_export(engine, "tensor")?.ty {
        ComponentItem::Resource(resource) => Some(resource),
        _ => None,
    }
}

fn made(engine: &Engine, component: &Component) -> Vec<Made> {
    let ty = component.component_type();
    let mut found = Vec::new();
    for (interface, item) in ty.exports(engine) {
        let ComponentItem::ComponentInstance(instance) = item.ty else { continue };
        let Some(at) = component.get_export_index(None, interface) else { continue };
        for (export, _) in instance.exports(engine) {
            let Some(name) = export.strip_prefix(CONSTRUCTOR) else { continue };
            let Some((item, index)) = component.get_export(Some(&at), export) else { continue };
            let ComponentItem::ComponentFunc(ty) = item else { continue };
            let results: Vec<_> = ty.results().collect();
            if let [Type::Own(resource)] = results[..] {
                found.push(Made { resource, name: name.to_owned(), ty, index });
            }
        }
    }
    found
}
