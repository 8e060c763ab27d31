//! The types of one bundle, each stored once: a hundred functions with the same record share it.
//!
//! Parts are pooled before the whole, so two types are equal if their parts are at the same address. Nothing is compared or hashed deeper
//! than one level. The bundle's total is limited, in nodes and in bytes of names.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use crate::value::{Case, Constructor, Field, Type};

/// Maximum length of a name in a type, in bytes: names are repeated in every description.
const NAME_BYTES_MAX: usize = 256;

/// Size limits of a bundle's types.
#[derive(Debug, Clone, Copy)]
pub(in crate::sandbox) struct TypeLimits {
    /// `sandbox.type_nodes_max`.
    pub(in crate::sandbox) nodes: usize,
    /// `sandbox.type_name_bytes_max`.
    pub(in crate::sandbox) name_bytes: usize,
}

/// The limit that a bundle's types exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TypesExceed {
    #[error(
        "the types of its functions have more than {max} different parts (`sandbox.type_nodes_max`)"
    )]
    Nodes { max: usize },
    #[error(
        "the names in the types of its functions have more than {max} bytes (`sandbox.type_name_bytes_max`)"
    )]
    NameBytes { max: usize },
    #[error(
        "a name in the types of its functions has {bytes} bytes, more than the {NAME_BYTES_MAX} allowed"
    )]
    Name { bytes: usize },
}

/// A type by the addresses of its parts, which identify it within the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Identity(std::mem::Discriminant<Type>, usize, usize);

/// A record's fields, by number of name and type.
type FieldsKey = Box<[(usize, Identity)]>;

/// A variant's cases, by number of name and type.
type CasesKey = Box<[(usize, Option<Identity>)]>;

/// The pool.
pub(in crate::sandbox) struct Pool {
    limits: TypeLimits,
    nodes: usize,
    name_bytes: usize,
    names: HashSet<Arc<str>>,
    shared: HashMap<Identity, Arc<Type>>,
    fields: HashMap<FieldsKey, Arc<[Field]>>,
    tuples: HashMap<Box<[Identity]>, Arc<[Type]>>,
    cases: HashMap<CasesKey, Arc<[Case]>>,
    lists_of_names: HashMap<Box<[usize]>, Arc<[Arc<str>]>>,
    constructors: HashMap<(usize, usize, usize), Arc<Constructor>>,
}

impl Pool {
    pub(in crate::sandbox) fn new(limits: TypeLimits) -> Self {
        Self {
            limits,
            nodes: 0,
            name_bytes: 0,
            names: HashSet::new(),
            shared: HashMap::new(),
            fields: HashMap::new(),
            tuples: HashMap::new(),
            cases: HashMap::new(),
            lists_of_names: HashMap::new(),
            constructors: HashMap::new(),
        }
    }

    pub(super) fn name(&mut self, name: &str) -> Result<Arc<str>, TypesExceed> {
        if let Some(known) = self.names.get(name) {
            return Ok(Arc::clone(known));
        }
        if name.len() > NAME_BYTES_MAX {
            return Err(TypesExceed::Name { bytes: name.len() });
        }
        self.name_bytes = self.name_bytes.saturating_add(name.len());
        if self.name_bytes > self.limits.name_bytes {
            return Err(TypesExceed::NameBytes { max: self.limits.name_bytes });
        }
        let name: Arc<str> = name.into();
        self.names.insert(Arc::clone(&name));
        Ok(name)
    }

    pub(super) fn share(&mut self, ty: Type) -> Result<Arc<Type>, TypesExceed> {
        let (key, nodes) = (identity(&ty), &mut self.nodes);
        keep(&mut self.shared, key, 1, (nodes, self.limits.nodes), || Arc::new(ty))
    }

    pub(super) fn fields(&mut self, fields: Vec<Field>) -> Result<Arc<[Field]>, TypesExceed> {
        let key = fields.iter().map(|field| (place(&field.name), identity(&field.ty))).collect();
        let (count, nodes) = (fields.len(), &mut self.nodes);
        keep(&mut self.fields, key, count, (nodes, self.limits.nodes), || fields.into())
    }

    pub(super) fn tuple(&mut self, types: Vec<Type>) -> Result<Arc<[Type]>, TypesExceed> {
        let key = types.iter().map(identity).collect();
        let (count, nodes) = (types.len(), &mut self.nodes);
        keep(&mut self.tuples, key, count, (nodes, self.limits.nodes), || types.into())
    }

    pub(super) fn cases(&mut self, cases: Vec<Case>) -> Result<Arc<[Case]>, TypesExceed> {
        let key = cases.iter().map(|case| (place(&case.name), case.ty.as_ref().map(identity)));
        let (key, count, nodes) = (key.collect(), cases.len(), &mut self.nodes);
        keep(&mut self.cases, key, count, (nodes, self.limits.nodes), || cases.into())
    }

    pub(super) fn names<'n>(
        &mut self,
        names: impl Iterator<Item = &'n str>,
    ) -> Result<Arc<[Arc<str>]>, TypesExceed> {
        let names = names.map(|name| self.name(name)).collect::<Result<Vec<_>, _>>()?;
        let key = names.iter().map(place).collect();
        let (count, nodes) = (names.len(), &mut self.nodes);
        keep(&mut self.lists_of_names, key, count, (nodes, self.limits.nodes), || names.into())
    }

    pub(super) fn constructor(
        &mut self,
        made: Constructor,
    ) -> Result<Arc<Constructor>, TypesExceed> {
        let key = (place(&made.resource), made.position, start(&made.params));
        let nodes = &mut self.nodes;
        keep(&mut self.constructors, key, 1, (nodes, self.limits.nodes), || Arc::new(made))
    }
}

/// The entry of `key`, or a new one from `make`, which counts for `count` nodes.
fn keep<K: Eq + Hash, V: Clone>(
    kept: &mut HashMap<K, V>,
    key: K,
    count: usize,
    (nodes, max): (&mut usize, usize),
    make: impl FnOnce() -> V,
) -> Result<V, TypesExceed> {
    if let Some(known) = kept.get(&key) {
        return Ok(known.clone());
    }
    *nodes = nodes.saturating_add(count.max(1));
    if *nodes > max {
        return Err(TypesExceed::Nodes { max });
    }
    let made = make();
    kept.insert(key, made.clone());
    Ok(made)
}

fn place(name: &Arc<str>) -> usize {
    name.as_ptr() as usize
}

/// Empty slices may have any address; they are all equal.
fn start<T>(slice: &Arc<[T]>) -> usize {
    if slice.is_empty() { 0 } else { slice.as_ptr() as usize }
}

fn whole<T>(shared: Option<&Arc<T>>) -> usize {
    shared.map_or(0, |shared| Arc::as_ptr(shared) as usize)
}

fn identity(ty: &Type) -> Identity {
    let (first, second) = match ty {
        Type::List(ty) | Type::Option(ty) => (whole(Some(ty)), 0),
        Type::Record(fields) => (start(fields), fields.len()),
        Type::Tuple(types) => (start(types), types.len()),
        Type::Variant(cases) => (start(cases), cases.len()),
        Type::Enum(names) | Type::Flags(names) => (start(names), names.len()),
        Type::Result { ok, err } => (whole(ok.as_ref()), whole(err.as_ref())),
        Type::Resource(made) => (whole(Some(made)), 0),
        _ => (0, 0),
    };
    Identity(std::mem::discriminant(ty), first, second)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: TypeLimits = TypeLimits { nodes: 8, name_bytes: 8 };

    fn record(pool: &mut Pool, names: &[&str]) -> Result<Type, TypesExceed> {
        let mut fields = Vec::new();
        for name in names {
            fields.push(Field { name: pool.name(name)?, ty: Type::List(pool.share(Type::U8)?) });
        }
        Ok(Type::Record(pool.fields(fields)?))
    }

    #[test]
    fn the_same_type_is_kept_once() {
        let mut pool = Pool::new(LIMITS);
        let kept: Vec<Type> =
            (0..100).map(|_| record(&mut pool, &["a", "b"]).expect("kept once")).collect();
        let (Type::Record(first), Type::Record(last)) = (&kept[0], &kept[99]) else { panic!() };
        assert!(Arc::ptr_eq(first, last));
        assert_eq!((pool.nodes, pool.name_bytes), (3, 2));
    }

    #[test]
    fn types_that_differ_are_kept_apart() {
        let mut pool = Pool::new(LIMITS);
        let ab = record(&mut pool, &["a", "b"]).expect("small");
        let ba = record(&mut pool, &["b", "a"]).expect("small");
        assert_ne!(ab, ba);
        let (list, option) =
            (pool.share(Type::U8).expect("small"), pool.share(Type::S8).expect("small"));
        assert_ne!(
            pool.share(Type::List(list)).expect("small"),
            pool.share(Type::Option(option)).expect("small")
        );
    }

    #[test]
    fn nodes_and_names_are_bounded_for_the_bundle() {
        let mut pool = Pool::new(LIMITS);
        record(&mut pool, &["a", "b", "c"]).expect("four nodes");
        record(&mut pool, &["a", "c", "b"]).expect("seven");
        assert_eq!(record(&mut pool, &["c", "b", "a"]), Err(TypesExceed::Nodes { max: 8 }));
        let mut pool = Pool::new(LIMITS);
        assert_eq!(record(&mut pool, &["123456789"]), Err(TypesExceed::NameBytes { max: 8 }));
        let long = "n".repeat(257);
        assert_eq!(record(&mut pool, &[&long]), Err(TypesExceed::Name { bytes: 257 }));
    }
}
