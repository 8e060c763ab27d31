//! Queries as types. One type says which parameters a route has, for the OpenAPI document, and is what the route's handler reads.

use std::marker::PhantomData;

use http::Request;

use super::form;
use super::problem::{Problem, ProblemKind};
use crate::call::Part;
use crate::id::{Digest, ModelName};

/// A parameter of a route, in the path or in the query.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    /// What it is, for people.
    pub(super) about: &'static str,
    pub(super) form: Form,
    pub(super) is_required: bool,
}

/// The form of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Text that this regular expression matches, such as the example.
    Text { pattern: &'static str, example: &'static str },
    /// A UUID.
    Uuid,
    /// A whole number within these bounds, which are included.
    Number { min: u64, max: u64, default: Option<u64> },
}

/// The identifier of an offer or agreement.
pub(super) const DIGEST: Form = Form::Text {
    pattern: "^sha256:[0-9a-f]{64}$",
    example: "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
};

/// Such as `acme/iris`.
const MODEL: Form = Form::Text { pattern: "^[a-z0-9-]+/[a-z0-9-]+$", example: "acme/iris" };

/// A query that a route reads; the macro `query!` implements it.
pub(super) trait Query: Sized {
    const PARAMETERS: &'static [Parameter];

    /// Takes the parameters from those that were given.
    ///
    /// # Errors
    /// That of the first parameter that is missing or has another form.
    fn take(given: &mut Given) -> Result<Self, Problem>;
}

/// A parameter's value.
pub(super) trait Value: Sized {
    const FORM: Form;
    const IS_REQUIRED: bool = true;

    /// Reads what was given.
    ///
    /// # Errors
    /// A problem that names the parameter or its value.
    fn read(name: &str, text: &str) -> Result<Self, Problem>;

    /// What it is if it was not given.
    ///
    /// # Errors
    /// 400 that names the parameter.
    fn absent(name: &str) -> Result<Self, Problem> {
        Err(invalid(format!("the parameter `{name}` is missing: `?{name}=…`")))
    }
}

impl<T: Value> Value for Option<T> {
    const FORM: Form = T::FORM;
    const IS_REQUIRED: bool = false;

    fn read(name: &str, text: &str) -> Result<Self, Problem> {
        T::read(name, text).map(Some)
    }

    fn absent(_: &str) -> Result<Self, Problem> {
        Ok(None)
    }
}

impl Value for u64 {
    const FORM: Form = Form::Number { min: 0, max: u64::MAX, default: None };

    fn read(name: &str, text: &str) -> Result<Self, Problem> {
        text.parse().map_err(|_| invalid(format!("`{name}` must be a number, such as `{name}=3`")))
    }
}

impl Value for Digest {
    const FORM: Form = DIGEST;

    fn read(_: &str, text: &str) -> Result<Self, Problem> {
        super::market::digest(text)
    }
}

impl Value for ModelName {
    const FORM: Form = MODEL;

    fn read(_: &str, text: &str) -> Result<Self, Problem> {
        text.parse().map_err(|error: crate::id::IdError| invalid(error.to_string()))
    }
}

/// Where a list of numbered entries begins: at the first one unless something else is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct First(pub(super) usize);

impl Value for First {
    const FORM: Form = Form::Number { min: 0, max: usize::MAX as u64, default: Some(0) };
    const IS_REQUIRED: bool = false;

    fn read(name: &str, text: &str) -> Result<Self, Problem> {
        let first = text.parse().map_err(|_| invalid(format!("`{name}` must be a number")))?;
        Ok(Self(first))
    }

    fn absent(_: &str) -> Result<Self, Problem> {
        Ok(Self(0))
    }
}

/// The most entries of a page: 1 to `MAX`, which is also the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit<const MAX: usize>(pub(super) usize);

impl<const MAX: usize> Value for Limit<MAX> {
    const FORM: Form = Form::Number { min: 1, max: MAX as u64, default: Some(MAX as u64) };
    const IS_REQUIRED: bool = false;

    fn read(name: &str, text: &str) -> Result<Self, Problem> {
        let limit = text.parse().ok().filter(|limit| (1..=MAX).contains(limit));
        let wrong = || invalid(format!("`{name}` must be a number from 1 to {MAX}"));
        limit.map(Self).ok_or_else(wrong)
    }

    fn absent(_: &str) -> Result<Self, Problem> {
        Ok(Self(MAX))
    }
}

/// The parameters of a request, decoded. All of them are parameters of its route.
pub(super) struct Given(Vec<(&'static str, String)>);

impl Given {
    /// Decodes a query with these parameters. The last value of a parameter counts.
    fn read(text: &str, parameters: &'static [Parameter]) -> Result<Self, Problem> {
        let mut given = Vec::new();
        for Part { name, bytes } in form::query(text)? {
            let Some(known) = parameters.iter().find(|known| known.name == name) else {
                let names: Vec<_> =
                    parameters.iter().map(|one| format!("`{}`", one.name)).collect();
                let names = names.join(", ");
                return Err(invalid(format!("there is no parameter `{name}` here, only {names}")));
            };
            let value = String::from_utf8(bytes.into());
            let value = value.map_err(|_| invalid(format!("`{name}` is not UTF-8")))?;
            given.push((known.name, value));
        }
        Ok(Self(given))
    }

    /// The value of a parameter.
    ///
    /// # Errors
    /// Those of the value.
    pub(super) fn take<T: Value>(&mut self, name: &'static str) -> Result<T, Problem> {
        match self.0.iter().rfind(|(given, _)| *given == name) {
            Some((_, text)) => T::read(name, text),
            None => T::absent(name),
        }
    }
}

/// The query of a request to a route that reads it as `Q`. It is not read before the caller is known.
pub(super) struct Asked<'r, Q> {
    text: &'r str,
    read_as: PhantomData<fn() -> Q>,
}

impl<'r, Q: Query> Asked<'r, Q> {
    /// That of this request.
    pub(super) fn of<B>(request: &'r Request<B>) -> Self {
        Self { text: request.uri().query().unwrap_or_default(), read_as: PhantomData }
    }

    /// Reads it.
    ///
    /// # Errors
    /// 400 for a parameter that the route does not have, and those of its own parameters.
    pub(super) fn read(self) -> Result<Q, Problem> {
        Q::take(&mut Given::read(self.text, Q::PARAMETERS)?)
    }
}

fn invalid(detail: String) -> Problem {
    Problem::new(ProblemKind::InvalidRequest, detail)
}

/// A type for a query. Each field is a parameter of its name; the line above it says what it is.
macro_rules! query {
    ($(#[doc = $doc:literal])* $name:ident $(<const $max:ident>)? {
        $(#[doc = $about:literal] $field:ident: $type:ty,)+
    }) => {
        $(#[doc = $doc])*
        #[derive(Debug, PartialEq, Eq)]
        pub(super) struct $name $(<const $max: usize>)? {
            $(#[doc = $about] pub(super) $field: $type,)+
        }

        impl $(<const $max: usize>)? $crate::api::query::Query for $name $(<$max>)? {
            const PARAMETERS: &'static [$crate::api::query::Parameter] =
                &[$($crate::api::query::Parameter {
                    name: stringify!($field),
                    about: $about.trim_ascii(),
                    form: <$type as $crate::api::query::Value>::FORM,
                    is_required: <$type as $crate::api::query::Value>::IS_REQUIRED,
                },)+];

            fn take(
                given: &mut $crate::api::query::Given,
            ) -> Result<Self, $crate::api::problem::Problem> {
                Ok(Self { $($field: given.take(stringify!($field))?,)+ })
            }
        }
    };
}
pub(super) use query;

#[cfg(test)]
mod tests {
    use super::*;

    query! {
        /// A list in pages.
        Listed<const MAX> {
            /// Where it begins.
            after: Option<Digest>,
            /// How many.
            limit: Limit<MAX>,
            /// From which one.
            from: u64,
        }
    }

    fn read(query: &str) -> Result<Listed<10>, String> {
        let request = Request::builder().uri(format!("/list?{query}")).body(()).expect("a request");
        Asked::<Listed<10>>::of(&request).read().map_err(|problem| problem.detail().to_owned())
    }

    #[test]
    fn a_query_is_read_strictly() {
        let all = |from| Listed { after: None, limit: Limit(10), from };
        assert_eq!(read("from=3"), Ok(all(3)));
        assert_eq!(read("from=3&from=4&"), Ok(all(4)), "the last one counts");
        assert_eq!(read("%66rom=%33&limit=%37"), Ok(Listed { limit: Limit(7), ..all(3) }));
        let first = Digest::of(b"x").to_string().replace(':', "%3A");
        let after = Some(Digest::of(b"x"));
        assert_eq!(read(&format!("from=0&after={first}")), Ok(Listed { after, ..all(0) }));
        assert_eq!(read(""), Err("the parameter `from` is missing: `?from=…`".to_owned()));
        for wrong in ["from=x", "from=-1", "from=1&limit=0", "from=1&limit=11", "from=1&limit"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        for wrong in ["from=1&page=2", "from=1&after=%ff", "from=1&after=x", "FROM=1"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let said = read("page=2").expect_err("it is not known");
        assert_eq!(said, "there is no parameter `page` here, only `after`, `limit`, `from`");
    }

    #[test]
    fn a_query_says_what_its_parameters_are() {
        let [after, limit, from] = Listed::<10>::PARAMETERS else { panic!("three") };
        assert_eq!((after.name, after.about, after.form), ("after", "Where it begins.", DIGEST));
        assert_eq!(limit.form, Form::Number { min: 1, max: 10, default: Some(10) });
        assert!(!after.is_required && !limit.is_required && from.is_required);
    }
}
