//! The resources of a world, and which of them a caller can make by writing the arguments of their constructor.

use std::collections::BTreeSet;

use wit_parser::{
    Function, FunctionKind, Handle, InterfaceId, Resolve, Type, TypeDefKind, TypeId, TypeOwner,
    WorldId, WorldItem,
};

/// The resources that a world defines.
pub(super) struct Resources<'r> {
    resolve: &'r Resolve,
    /// The interfaces that the world exports. Resources of other interfaces belong to the host.
    exported: BTreeSet<InterfaceId>,
}

impl<'r> Resources<'r> {
    pub(super) fn of(resolve: &'r Resolve, world: WorldId) -> Self {
        let exports = resolve.worlds[world].exports.values();
        let exported = exports.filter_map(|item| match item {
            WorldItem::Interface { id, .. } => Some(*id),
            _ => None,
        });
        Self { resolve, exported: exported.collect() }
    }

    pub(super) fn name(&self, resource: TypeId) -> &'r str {
        self.resolve.types[resource].name.as_deref().unwrap_or_default()
    }

    /// Whether callers can make all resources that a function takes, and it returns none. A resource does not outlive the call.
    pub(super) fn lets_call(&self, function: &Function) -> bool {
        let mut taken = Vec::new();
        function.params.iter().for_each(|param| self.find(&param.ty, &mut taken));
        let mut given = Vec::new();
        function.result.iter().for_each(|ty| self.find(ty, &mut given));
        given.is_empty() && taken.into_iter().all(|resource| self.can_be_made(resource))
    }

    /// Whether a resource has a constructor that cannot fail, whatever its parameters are.
    fn can_be_made(&self, resource: TypeId) -> bool {
        let made = constructor(self.resolve, resource).and_then(|function| function.result);
        let Some(Type::Id(made)) = made else { return false };
        matches!(self.resolve.types[made].kind, TypeDefKind::Handle(Handle::Own(_)))
    }

    /// Collects the world's own resources in `ty`.
    fn find(&self, ty: &Type, found: &mut Vec<TypeId>) {
        let Type::Id(id) = ty else { return };
        let ty = &self.resolve.types[*id];
        match &ty.kind {
            TypeDefKind::Resource => {
                if matches!(ty.owner, TypeOwner::Interface(id) if self.exported.contains(&id)) {
                    found.push(*id);
                }
            }
            TypeDefKind::Handle(handle) => self.find(&Type::Id(of_handle(handle)), found),
            TypeDefKind::Record(record) => {
                record.fields.iter().for_each(|field| self.find(&field.ty, found));
            }
            TypeDefKind::Variant(variant) => {
                let payloads = variant.cases.iter().filter_map(|case| case.ty.as_ref());
                payloads.for_each(|ty| self.find(ty, found));
            }
            TypeDefKind::Tuple(tuple) => tuple.types.iter().for_each(|ty| self.find(ty, found)),
            TypeDefKind::Option(ty) | TypeDefKind::List(ty) | TypeDefKind::Type(ty) => {
                self.find(ty, found);
            }
            TypeDefKind::Result(result) => {
                result.ok.iter().chain(&result.err).for_each(|ty| self.find(ty, found));
            }
            TypeDefKind::Stream(ty) | TypeDefKind::Future(ty) => {
                ty.iter().for_each(|ty| self.find(ty, found));
            }
            _ => {}
        }
    }
}

/// The resource, or its alias, that a handle refers to.
pub(super) fn of_handle(handle: &Handle) -> TypeId {
    match handle {
        Handle::Own(resource) | Handle::Borrow(resource) => *resource,
    }
}

/// The constructor of a resource.
pub(super) fn constructor(resolve: &Resolve, resource: TypeId) -> Option<&Function> {
    let TypeOwner::Interface(interface) = resolve.types[resource].owner else { return None };
    let mut functions = resolve.interfaces[interface].functions.values();
    functions.find(|function| function.kind == FunctionKind::Constructor(resource))
}
