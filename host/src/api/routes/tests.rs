use std::path::Path;

use super::super::query::Form;
use super::*;

/// The path of a route as a caller may write it.
fn filled_in(route: &Route) -> Vec<&'static str> {
    let parts = route.path.split('/').skip(1);
    parts.map(|part| if part.starts_with('{') { "x" } else { part }).collect()
}

fn all() -> impl Iterator<Item = &'static Route> {
    SECTIONS.iter().flat_map(|section| section.routes)
}

#[test]
fn every_route_is_found_by_its_method_and_path() {
    for route in all() {
        let method = Method::from_bytes(route.method.as_bytes()).expect("a method");
        let segments = filled_in(route);
        let (found, filled) = find(route.audience, &method, &segments).expect(route.path);
        assert_eq!((found.method, found.path), (route.method, route.path));
        let count = route.path.matches('{').count();
        assert_eq!(filled.iter().filter(|part| **part == "x").count(), count, "{}", route.path);
        assert!(methods(route.audience, &segments).contains(&route.method), "{}", route.path);
    }
}

#[test]
fn what_is_filled_in_is_handed_over_in_its_order() {
    let find = |method, segments: &[&'static str]| find(Audience::Everybody, method, segments);
    let (route, filled) = find(&Method::POST, &["acme", "iris@1", "classify"]).expect("a call");
    assert!(matches!(route.handler, Handler::Call));
    assert_eq!(filled, ["acme", "iris@1", "classify"]);
    let (route, filled) = find(&Method::GET, &["api", "offers", "sha256:0d"]).expect("an offer");
    assert_eq!((route.path, filled), ("/api/offers/{id}", ["sha256:0d", "", ""]));
    let elsewhere: [&[&str]; 6] = [
        &[],
        &["api"],
        &["api", "nothing"],
        &["api", "offers", "id", "mandate", "more"],
        &["acme", "iris", "classify", "more", "and", "more"],
        &["status"],
    ];
    for segments in elsewhere {
        assert!(find(&Method::GET, segments).is_none(), "{segments:?}");
        assert!(methods(Audience::Everybody, segments).is_empty(), "{segments:?}");
    }
    assert!(find(&Method::DELETE, &["api", "offers"]).is_none());
    assert_eq!(methods(Audience::Everybody, &["api", "offers"]), ["POST", "GET"]);
}

#[test]
fn a_route_is_there_once_and_what_it_may_fail_with_is_no_usual_thing() {
    let mut seen = std::collections::BTreeSet::new();
    for route in all() {
        let is_operators = route.audience == Audience::Operator;
        assert!(seen.insert((is_operators, route.method, route.path)), "{}", route.path);
        assert!(!(is_operators && route.path.starts_with("/{")), "{}", route.path);
        for kind in route.fails {
            assert!(!USUAL.contains(kind), "{}: {kind:?}", route.path);
        }
        assert_eq!(route.takes.body().is_some(), route.method == "POST", "{}", route.path);
    }
}

#[test]
fn every_parameter_of_a_path_and_of_a_query_is_described() {
    for route in all() {
        let names = route.path.split('/').filter_map(|part| part.strip_prefix('{'));
        let names: Vec<_> = names.filter_map(|part| part.strip_suffix('}')).collect();
        let described: Vec<_> = route.filled.iter().map(|parameter| parameter.name).collect();
        assert_eq!(names, described, "{} {}", route.method, route.path);
        assert!(route.filled.iter().all(|parameter| parameter.is_required), "{}", route.path);
        for parameter in route.filled.iter().chain(route.query()) {
            let name = format!("{}: {}", route.path, parameter.name);
            assert!(parameter.about.ends_with('.'), "{name}");
            let Form::Number { min, max, default } = parameter.form else { continue };
            assert!(default.is_none_or(|default| (min..=max).contains(&default)), "{name}");
            assert!(!(parameter.is_required && default.is_some()), "{name}");
        }
    }
}

/// A section of the table, as the reference shows it.
fn table(section: &Section) -> String {
    let mut table = "| route | who | purpose |\n| --- | --- | --- |\n".to_owned();
    for route in section.routes {
        let who = match route.access {
            Access::Anybody => "anybody",
            Access::Visitor => "anybody; a key may show more",
            Access::Account => "an account",
            Access::Operator => "the operator",
        };
        let name = |parameter: &Parameter| format!("`{}`", parameter.name);
        let query = match route.query() {
            [] => String::new(),
            query => format!("; {}", query.iter().map(name).collect::<Vec<_>>().join(", ")),
        };
        let Route { method, path, summary, .. } = route;
        table += &format!("| `{method} {path}` | {who} | {summary}{query} |\n");
    }
    table
}

#[test]
fn the_reference_has_the_tables_of_these_routes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md");
    let page = std::fs::read_to_string(&path).expect("readable");
    let mut written = page.clone();
    for section in &SECTIONS {
        let begin = format!("<!-- routes: {} -->\n\n", section.name);
        let (before, rest) = written.split_once(&begin).expect(section.name);
        let (_, after) = rest.split_once("\n<!-- end -->").expect(section.name);
        written = format!("{before}{begin}{}\n<!-- end -->{after}", table(section));
    }
    if std::env::var_os("HOSPES_WRITE_ROUTES").is_some() {
        std::fs::write(&path, &written).expect("writable");
    } else {
        assert!(page == written, "host/docs/api.md is not what the table says: `make routes`");
    }
}
