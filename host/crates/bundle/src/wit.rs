//! The functions that a world exports, with their documentation, for a manifest.
//!
//! A component contains no documentation, so it is taken from the WIT that the component was built from. Packing checks that the component
//! really has the functions.

mod resources;

use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::path::{Path, PathBuf};

use wit_component::DecodedWasm;
use wit_parser::{
    Docs, Function, FunctionKind, PackageId, Resolve, Type, TypeDefKind, TypeId, WorldId, WorldItem,
};

use self::resources::Resources;
use super::componentize::{ComponentizeError, plugin_wit};
use super::manifest::{FunctionSpec, MemberSpec, TypeSpec};
use super::names::NameError;
use hospes_core::id::IdError;

/// The built-in world of a bundle without code.
const PASSTHROUGH_WORLD: &str = "model";

/// Why a world could not be read.
#[derive(Debug, thiserror::Error)]
pub enum WitError {
    #[error("the WIT in `{}` cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    #[error("the WIT has no world `{world}`: name the one that the guest was built for")]
    World {
        world: String,
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    #[error(
        "the guest cannot be read as a component: name its world by `build.wit` and `build.world`"
    )]
    Component(#[source] Box<dyn StdError + Send + Sync>),
    #[error("the guest is a package of WIT and not a component")]
    Package,
    #[error("world `{world}` exports no function, so nobody could call it: export one")]
    NoFunctions { world: String },
    #[error("a function cannot be called by its name: rename it")]
    Name(#[from] IdError),
    #[error("a function cannot be called by the name of its export: rename it")]
    Export(#[from] NameError),
    #[error(transparent)]
    Builtin(#[from] ComponentizeError),
}

/// The functions and types that a world exports.
#[derive(Debug)]
pub(super) struct Exports {
    pub(super) functions: Vec<FunctionSpec>,
    /// The named types of the functions' parameters and results.
    pub(super) types: Vec<TypeSpec>,
}

/// The exports of `world` in the package in folder `path`.
///
/// The package may use `hospes:plugin` and `wasi:nn`, which the host provides. A package with a `deps` folder must contain all that it uses.
pub(super) fn exports(path: &Path, world: &str) -> Result<Exports, WitError> {
    let mut resolve = match path.join("deps").is_dir() {
        true => Resolve::default(),
        false => plugin_wit()?.0,
    };
    let unreadable =
        |source: Box<dyn StdError + Send + Sync>| WitError::Read { path: path.to_owned(), source };
    let (package, _) = resolve.push_dir(path).map_err(|error| unreadable(error.into()))?;
    exports_of(&resolve, select(&resolve, package, world)?)
}

/// The exports of a component, from its own types.
pub(super) fn component_exports(component: &[u8]) -> Result<Exports, WitError> {
    match wit_component::decode(component) {
        Ok(DecodedWasm::Component(resolve, world)) => exports_of(&resolve, world),
        Ok(DecodedWasm::WitPackage(..)) => Err(WitError::Package),
        Err(error) => Err(WitError::Component(error.into())),
    }
}

/// The exports of a bundle without code.
pub(super) fn passthrough_exports() -> Result<Exports, WitError> {
    let (resolve, package) = plugin_wit()?;
    exports_of(&resolve, select(&resolve, package, PASSTHROUGH_WORLD)?)
}

fn select(resolve: &Resolve, package: PackageId, world: &str) -> Result<WorldId, WitError> {
    resolve
        .select_world(&[package], Some(world))
        .map_err(|error| WitError::World { world: world.to_owned(), source: error.into() })
}

fn exports_of(resolve: &Resolve, world: WorldId) -> Result<Exports, WitError> {
    let mut specs = Vec::new();
    let mut types = Types { resolve, seen: BTreeSet::new(), specs: Vec::new() };
    let resources = Resources::of(resolve, world);
    for (key, item) in &resolve.worlds[world].exports {
        match item {
            WorldItem::Function(function) => {
                specs.extend(spec(&resources, function, None)?);
                types.of_function(function);
            }
            WorldItem::Interface { id, .. } => {
                let interface = resolve.name_world_key(key);
                for function in resolve.interfaces[*id].functions.values() {
                    specs.extend(spec(&resources, function, Some(&interface))?);
                    types.of_function(function);
                }
            }
            WorldItem::Type { .. } => {}
        }
    }
    if specs.is_empty() {
        return Err(WitError::NoFunctions { world: resolve.worlds[world].name.clone() });
    }
    Ok(Exports { functions: specs, types: types.specs })
}

/// Collects the types that functions use, including nested ones, each once.
struct Types<'r> {
    resolve: &'r Resolve,
    seen: BTreeSet<TypeId>,
    specs: Vec<TypeSpec>,
}

impl Types<'_> {
    fn of_function(&mut self, function: &Function) {
        for param in &function.params {
            self.of(&param.ty);
        }
        if let Some(result) = &function.result {
            self.of(result);
        }
    }

    fn of(&mut self, ty: &Type) {
        let Type::Id(id) = ty else { return };
        if !self.seen.insert(*id) {
            return;
        }
        let resolve = self.resolve;
        let ty = &resolve.types[*id];
        let mut members: Vec<(&str, &Docs)> = Vec::new();
        match &ty.kind {
            TypeDefKind::Record(record) => {
                for field in &record.fields {
                    members.push((&field.name, &field.docs));
                    self.of(&field.ty);
                }
            }
            TypeDefKind::Variant(variant) => {
                for case in &variant.cases {
                    members.push((&case.name, &case.docs));
                    case.ty.iter().for_each(|ty| self.of(ty));
                }
            }
            TypeDefKind::Enum(names) => {
                members.extend(names.cases.iter().map(|case| (case.name.as_str(), &case.docs)));
            }
            TypeDefKind::Flags(flags) => {
                members.extend(flags.flags.iter().map(|flag| (flag.name.as_str(), &flag.docs)));
            }
            TypeDefKind::Handle(handle) => self.of(&Type::Id(resources::of_handle(handle))),
            // Callers write the arguments of its constructor.
            TypeDefKind::Resource => {
                for param in resources::constructor(resolve, *id).iter().flat_map(|f| &f.params) {
                    members.push((&param.name, const { &Docs { contents: None } }));
                    self.of(&param.ty);
                }
            }
            TypeDefKind::Tuple(tuple) => tuple.types.iter().for_each(|ty| self.of(ty)),
            TypeDefKind::Option(ty) | TypeDefKind::List(ty) | TypeDefKind::Type(ty) => self.of(ty),
            TypeDefKind::Result(result) => {
                result.ok.iter().chain(&result.err).for_each(|ty| self.of(ty));
            }
            TypeDefKind::Stream(ty) | TypeDefKind::Future(ty) => {
                ty.iter().for_each(|ty| self.of(ty));
            }
            _ => {}
        }
        let is_resource = matches!(ty.kind, TypeDefKind::Resource);
        if let (Some(name), true) = (&ty.name, is_resource || !members.is_empty()) {
            let members = members
                .into_iter()
                .map(|(name, docs)| MemberSpec { name: name.to_owned(), docs: text(docs) });
            let spec =
                TypeSpec { name: name.clone(), docs: text(&ty.docs), members: members.collect() };
            self.specs.push(spec);
        }
    }
}

fn text(docs: &Docs) -> Option<String> {
    docs.contents.as_deref().map(str::trim).filter(|docs| !docs.is_empty()).map(str::to_owned)
}

/// `None` for a function that callers cannot call: a constructor, which the host calls itself, and a method that takes or returns a resource
/// that callers cannot make or keep.
fn spec(
    resources: &Resources<'_>,
    function: &Function,
    interface: Option<&str>,
) -> Result<Option<FunctionSpec>, WitError> {
    let name = match function.kind {
        FunctionKind::Freestanding | FunctionKind::AsyncFreestanding => function.name.clone(),
        FunctionKind::Method(resource)
        | FunctionKind::AsyncMethod(resource)
        | FunctionKind::Static(resource)
        | FunctionKind::AsyncStatic(resource)
            if resources.lets_call(function) =>
        {
            format!("{}-{}", resources.name(resource), function.item_name())
        }
        _ => return Ok(None),
    };
    let export = &function.name;
    let export =
        interface.map_or_else(|| export.clone(), |interface| format!("{interface}#{export}"));
    Ok(Some(FunctionSpec {
        name: name.parse()?,
        export: export.parse()?,
        docs: text(&function.docs),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(wit: &str) -> Result<Vec<FunctionSpec>, WitError> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("world.wit"), wit).expect("written");
        exports(folder.path(), "w").map(|exports| exports.functions)
    }

    #[test]
    fn functions_of_the_world_and_of_its_interfaces_come_with_their_docs() {
        let specs = world(
            "package a:b@1.0.0;
            interface more {
                /// A thing.
                resource thing {
                    constructor(size: u32, of: option<part>);
                    get: func() -> u32;
                    hear: async func() -> stream<u8>;
                    join: static func(a: thing, b: borrow<thing>) -> string;
                    copy: func() -> thing;
                    /// Nobody has what it takes.
                    put: func(v: list<odd>);
                }
                resource part { constructor(); }
                resource odd { constructor() -> result<odd, string>; get: func() -> u32; }
                resource none { get: func() -> u32; }
                /// Doubles.
                ///
                /// Twice.
                double: func(x: u32) -> u32;
            }
            world w {
                include hospes:plugin/plugin@0.1.0;
                export more;
                export plain: func();
                export inline: interface { f: func(); }
            }",
        )
        .expect("a world");
        let mut found: Vec<_> =
            specs.iter().map(|spec| (spec.name.as_str(), spec.export.as_str())).collect();
        found.sort_unstable();
        assert_eq!(
            found,
            [
                ("double", "a:b/more@1.0.0#double"),
                ("f", "inline#f"),
                ("plain", "plain"),
                ("thing-get", "a:b/more@1.0.0#[method]thing.get"),
                ("thing-hear", "a:b/more@1.0.0#[method]thing.hear"),
                ("thing-join", "a:b/more@1.0.0#[static]thing.join"),
            ]
        );
        let double = specs.iter().find(|spec| spec.name.as_str() == "double").expect("it is there");
        assert_eq!(double.docs.as_deref(), Some("Doubles.\n\nTwice."));
        assert!(specs.iter().filter(|spec| spec.docs.is_some()).count() == 1);
    }

    #[test]
    fn a_world_may_use_both_versions_of_the_host_s_interfaces() {
        let specs = world(
            "package a:b;
            world w {
                include hospes:plugin/conversing@0.2.0;
                export hospes:plugin/embeddings@0.1.0;
            }",
        )
        .expect("a world");
        let mut found: Vec<_> = specs.iter().map(|spec| spec.export.as_str()).collect();
        found.sort_unstable();
        assert_eq!(
            found,
            [
                "hospes:plugin/chat@0.2.0#complete",
                "hospes:plugin/chat@0.2.0#count",
                "hospes:plugin/chat@0.2.0#go-on",
                "hospes:plugin/embeddings@0.1.0#embed",
            ]
        );
    }

    #[test]
    fn the_built_in_guest_s_function_is_found() {
        let specs = passthrough_exports().expect("our own world").functions;
        assert_eq!(specs.len(), 1);
        assert_eq!(specs[0].name.as_str(), "infer");
        assert_eq!(specs[0].export.as_str(), "hospes:plugin/inference@0.1.0#infer");
        assert!(specs[0].docs.is_some());
    }

    #[test]
    fn a_package_with_deps_brings_all_it_uses() {
        let folder = tempfile::tempdir().expect("a folder");
        let deps = folder.path().join("deps");
        std::fs::create_dir(&deps).expect("made");
        std::fs::write(deps.join("p.wit"), "package hospes:plugin@0.1.0; world plugin {}")
            .expect("written");
        let wit = "package a:b; world w { include hospes:plugin/plugin@0.1.0; export f: func(); }";
        std::fs::write(folder.path().join("w.wit"), wit).expect("written");
        assert_eq!(exports(folder.path(), "w").expect("a world").functions.len(), 1);
    }

    #[test]
    fn what_is_not_such_a_world_is_refused() {
        assert!(matches!(world("package a:b; world"), Err(WitError::Read { .. })));
        assert!(matches!(world("package a:b; world x {}"), Err(WitError::World { .. })));
        assert!(matches!(world("package a:b; world w {}"), Err(WitError::NoFunctions { .. })));
        let long = format!("package a:b; world w {{ export {}: func(); }}", "a".repeat(64));
        assert!(matches!(world(&long), Err(WitError::Name(_))));
        let absent = exports(Path::new("does/not/exist"), "w");
        assert!(matches!(absent, Err(WitError::Read { .. })));
    }
}
