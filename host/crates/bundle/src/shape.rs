//! Reads a component's imports and exported functions with `wasmparser`, without an engine.
//!
//! Validates everything except function bodies. The engine validates those when it compiles, and may then still reject the component.

use std::collections::BTreeSet;

use wasmparser::component_types::ComponentEntityType;
use wasmparser::types::Types;
use wasmparser::{ComponentTypeRef, Parser, Payload, ValidPayload, Validator, WasmFeatures};

/// Maximum nesting of components. The validator keeps a state for each level.
pub const NESTING_MAX: usize = 64;

/// Why bytes are not a component.
#[derive(Debug, thiserror::Error)]
pub enum ShapeError {
    #[error("the component is not valid WebAssembly")]
    Invalid(#[source] wasmparser::BinaryReaderError),
    #[error("the component has bytes after its end, or is cut off")]
    NoEnd,
    #[error("components are nested more than {NESTING_MAX} deep")]
    Nesting,
}

/// A component's interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// The names of its imports in order, without imported types.
    pub imports: Vec<String>,
    /// Exported functions: `detect`, or `hospes:plugin/inference@0.1.0#infer` for one in an exported interface.
    pub functions: BTreeSet<String>,
}

impl Shape {
    /// Reads a component.
    ///
    /// # Errors
    /// If it is not valid WebAssembly, function bodies aside.
    pub fn read(component: &[u8]) -> Result<Self, ShapeError> {
        let mut validator = Validator::new_with_features(WasmFeatures::all());
        let mut imports = Vec::new();
        let mut exports = Vec::new();
        let mut types = None;
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(component) {
            let payload = payload.map_err(ShapeError::Invalid)?;
            if matches!(payload, Payload::Version { .. }) && depth >= NESTING_MAX {
                return Err(ShapeError::Nesting);
            }
            let checked = validator.payload(&payload).map_err(ShapeError::Invalid)?;
            if let ValidPayload::End(found) = checked {
                types = Some(found);
            }
            match payload {
                Payload::Version { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 1 => {
                    for import in section {
                        let import = import.map_err(ShapeError::Invalid)?;
                        // An imported type only describes values, and gives the component no access.
                        if !matches!(import.ty, ComponentTypeRef::Type(_)) {
                            imports.push(import.name.name.to_owned());
                        }
                    }
                }
                Payload::ComponentExportSection(section) if depth == 1 => {
                    for export in section {
                        exports.push(export.map_err(ShapeError::Invalid)?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        // The end of the outermost component comes last.
        let types = types.filter(|_| depth == 0).ok_or(ShapeError::NoEnd)?;
        let functions = exports.iter().flat_map(|export| functions_of(&types, export)).collect();
        Ok(Self { imports, functions })
    }
}

/// The functions of one export: itself, or those of an exported instance.
fn functions_of(types: &Types, export: &str) -> Vec<String> {
    match types.component_item_for_export(export).map(|item| item.ty) {
        Some(ComponentEntityType::Func(_)) => vec![export.to_owned()],
        Some(ComponentEntityType::Instance(id)) => {
            let members = types[id].exports.iter();
            let functions =
                members.filter(|(_, item)| matches!(item.ty, ComponentEntityType::Func(_)));
            functions.map(|(name, _)| format!("{export}#{name}")).collect()
        }
        Some(
            ComponentEntityType::Module(_)
            | ComponentEntityType::Value(_)
            | ComponentEntityType::Type { .. }
            | ComponentEntityType::Component(_),
        )
        | None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn functions_of_the_world_and_of_its_interfaces_are_found() {
        let shape = Shape::read(&sample::component()).expect("a component");
        let functions: Vec<_> = shape.functions.iter().map(String::as_str).collect();
        assert_eq!(functions, ["detect", "sample:plugin/extra@0.1.0#double"]);
        assert_eq!(shape.imports, ["sample:plugin/host@0.1.0"]);
    }

    #[test]
    fn exports_of_nested_components_are_not_the_component_s_own() {
        let text = r#"(component (component (core module (func (export "f"))) (core instance $i (instantiate 0))
            (func (export "hidden") (canon lift (core func $i "f")))))"#;
        let component = wat::parse_str(text).expect("text");
        let shape = Shape::read(&component).expect("a component");
        assert!(shape.functions.is_empty(), "{shape:?}");
    }

    #[test]
    fn damage_is_an_error() {
        let component = sample::component();
        for length in 0..component.len() {
            // If the bytes are cut between two sections, the rest is a valid shorter component. The signature detects that.
            if let Ok(shape) = Shape::read(&component[..length]) {
                assert!(shape.functions.len() < 2, "{length}");
            }
        }
        assert!(Shape::read(b"").is_err());
    }
}
