//! JSON lists and objects that keep only a limited number of entries, so that a body cannot allocate more than its limits. All entries are
//! counted for the error message.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// A list. Elements beyond `N` are counted but not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Few<T, const N: usize> {
    pub kept: Vec<T>,
    /// Number of elements.
    pub count: usize,
}

impl<T, const N: usize> Default for Few<T, N> {
    fn default() -> Self {
        Self { kept: Vec::new(), count: 0 }
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for Few<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(FewVisitor(PhantomData))
    }
}

struct FewVisitor<T, const N: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for FewVisitor<T, N> {
    type Value = Few<T, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Few<T, N>, A::Error> {
        let mut few = Few::default();
        while few.kept.len() < N {
            let Some(element) = seq.next_element()? else {
                few.count = few.kept.len();
                return Ok(few);
            };
            few.kept.push(element);
        }
        few.count = few.kept.len() + rest(&mut seq)?;
        Ok(few)
    }
}

/// Remaining elements of a list.
fn rest<'de, A: SeqAccess<'de>>(seq: &mut A) -> Result<usize, A::Error> {
    let mut count = 0;
    while seq.next_element::<IgnoredAny>()?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// An object's members, with nested lists and objects emptied. Members beyond `N` are counted but not kept.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FewMembers<const N: usize> {
    pub kept: Map<String, Value>,
    /// Number of members.
    pub count: usize,
}

impl<'de, const N: usize> Deserialize<'de> for FewMembers<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor<const N: usize>;

impl<'de, const N: usize> Visitor<'de> for MembersVisitor<N> {
    type Value = FewMembers<N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FewMembers<N>, A::Error> {
        let mut few = FewMembers::default();
        while few.count < N {
            let Some((name, Scalar(value))) = map.next_entry()? else { return Ok(few) };
            few.kept.insert(name, value);
            few.count += 1;
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            few.count += 1;
        }
        Ok(few)
    }
}

/// A value without its content.
struct Scalar(Value);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
        Ok(Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar, A::Error> {
        rest(&mut seq)?;
        Ok(Scalar(Value::Array(Vec::new())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar(Value::Object(Map::new())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_limit_is_counted_and_not_kept() {
        let few: Few<u8, 2> = serde_json::from_str("[1,2]").expect("JSON");
        assert_eq!((few.kept.as_slice(), few.count), ([1, 2].as_slice(), 2));
        let few: Few<u8, 2> = serde_json::from_str("[1,2,3,[4]]").expect("JSON");
        assert_eq!((few.kept.as_slice(), few.count), ([1, 2].as_slice(), 4));
        assert!(serde_json::from_str::<Few<u8, 2>>("[1,2,").is_err());
        assert!(serde_json::from_str::<Few<u8, 2>>("{}").is_err());
        let few: FewMembers<3> =
            serde_json::from_str(r#"{"a":1,"b":[1,2],"c":{"d":"x"},"e":2}"#).expect("JSON");
        assert_eq!(few.count, 4);
        assert_eq!(Value::Object(few.kept), serde_json::json!({"a": 1, "b": [], "c": {}}));
    }
}
