//! Bodies that do not fit, with place and reason.

use super::*;
use crate::value::ValueError;

/// Checks bodies `{"a": JSON}`: type, JSON, pointer, part of the message. The pointer is `-` for invalid JSON.
fn check(table: &[(&Type, &str, &str, &str)]) {
    for (ty, json, pointer, part) in table {
        check_body(&[field("a", Type::clone(ty))], &format!("{{\"a\": {json}}}"), pointer, part);
    }
}

fn check_body(params: &[Field], body: &str, pointer: &str, part: &str) {
    let error = parse::arguments(params, body.as_bytes()).expect_err(body);
    let seen = error.place().map_or("-", |place| place.pointer.as_str());
    assert_eq!(seen, pointer, "{body}: {error}");
    let message = error.to_string();
    assert!(message.contains(part), "{body}: `{message}` does not say `{part}`");
    assert!(message.chars().count() < 400, "{message}");
}

#[test]
fn scalars() {
    let [bool, u8, s8, u32, s64, u64] =
        [Type::Bool, Type::U8, Type::S8, Type::U32, Type::S64, Type::U64];
    check(&[
        (&bool, "1", "/a", "`/a` takes `bool`, not a number"),
        (&bool, "null", "/a", "not null"),
        (&bool, "\"true\"", "/a", "not a string"),
        (&u8, "256", "/a", "`/a` takes `u8`: `256` is out of its range"),
        (&u8, "-1", "/a", "out of its range"),
        (&u8, "1.0", "/a", "`1.0` is not an integer"),
        (&u8, "1e2", "/a", "not an integer"),
        (&u8, "\"1\"", "/a", "not a string"),
        (&u8, "[1]", "/a", "not an array"),
        (&u8, "{}", "/a", "not an object"),
        (&u8, "true", "/a", "not a boolean"),
        (&s8, "-129", "/a", "out of its range"),
        (&s8, "128", "/a", "out of its range"),
        (&u32, "4294967296", "/a", "out of its range"),
        (&u32, "99999999999999999999999999999999999999999999", "/a", "out of its range"),
        (&u64, "18446744073709551616", "/a", "out of its range"),
        (&u64, "\"18446744073709551616\"", "/a", "out of its range"),
        (&u64, "\"\"", "/a", "not an integer"),
        (&u64, "\"+1\"", "/a", "not an integer"),
        (&u64, "\"01\"", "/a", "not an integer"),
        (&u64, "\" 1\"", "/a", "not an integer"),
        (&u64, "\"1e3\"", "/a", "not an integer"),
        (&s64, "9223372036854775808", "/a", "out of its range"),
        (&s64, "\"-9223372036854775809\"", "/a", "out of its range"),
        (&Type::F32, "3.5e38", "/a", "out of its range"),
        (&Type::F32, "-1e39", "/a", "out of its range"),
        (&Type::F32, "\"inf\"", "/a", "`inf` is not a number"),
        (&Type::F64, "1e309", "/a", "out of its range"),
        (&Type::F64, "\"1.5\"", "/a", "not a number"),
        (&Type::F64, "null", "/a", "not null"),
        (&Type::Char, "\"\"", "/a", "not one character"),
        (&Type::Char, "\"ab\"", "/a", "`ab` is not one character"),
        (&Type::Char, "97", "/a", "not a number"),
        (&Type::String, "1", "/a", "`string`, not a number"),
        (&Type::String, "-1.5", "/a", "not a number"),
    ]);
}

#[test]
fn lists() {
    let bytes = list(Type::U8);
    let (floats, strings) = (list(Type::F32), list(Type::String));
    let pair = Type::Tuple([Type::U8, Type::Bool].into());
    let flags = Type::Flags(names(&["x", "y"]));
    check(&[
        (&bytes, "\"AQL\"", "/a", "not base64"),
        (&bytes, "\"AQL-\"", "/a", "not base64"),
        (&bytes, "\"AQ==\\n\"", "/a", "not base64"),
        (&bytes, "\"AR==\"", "/a", "not base64"),
        (&bytes, "[1, 256]", "/a/1", "`/a/1` takes `u8`: `256`"),
        (&bytes, "[null]", "/a/0", "not null"),
        (&bytes, "{}", "/a", "`list<u8>`, not an object"),
        (&bytes, "7", "/a", "not a number"),
        (&floats, "\"AQID\"", "/a", "not a string"),
        (&floats, "[0, 1, 1e99]", "/a/2", "out of its range"),
        (&floats, "[[0]]", "/a/0", "not an array"),
        (&strings, "[\"x\", 1]", "/a/1", "not a number"),
        (&strings, "null", "/a", "not null"),
        (&pair, "[1]", "/a", "has 1 elements, but needs 2"),
        (&pair, "[]", "/a", "has 0 elements"),
        (&pair, "[1, true, 2]", "/a", "more than 2 elements"),
        (&pair, "[1, 2]", "/a/1", "`bool`, not a number"),
        (&pair, "{\"0\": 1}", "/a", "`tuple<u8, bool>`, not an object"),
        (&flags, "[\"x\", \"x\"]", "/a/1", "`x` appears twice"),
        (&flags, "[\"z\"]", "/a/0", "has no `z`"),
        (&flags, "[1]", "/a/0", "not a number"),
        (&flags, "\"x\"", "/a", "not a string"),
    ]);
}

#[test]
fn records_and_cases() {
    let record = Type::Record([field("x", Type::U8), field("y", option(Type::U8))].into());
    let variant = Type::Variant([case("off", None), case("at", Some(Type::U8))].into());
    let (outcome, empty) = (result(Some(Type::U8), None), result(None, None));
    let twice = option(option(Type::U8));
    let many = Type::Enum(numbered(20).into());
    let records = list(record.clone());
    check(&[
        (&record, "{}", "/a/x", "`/a/x` is missing: add it, as `u8`"),
        (
            &record,
            "{\"x\": 1, \"z\": 2}",
            "/a/z",
            "`/a/z` is not a member of `record { x: u8, y: o",
        ),
        (&record, "{\"x\": 1, \"m/n~\": 2}", "/a/m~1n~0", "not a member"),
        (&record, "{\"x\": 1, \"x\": 1}", "/a/x", "appears twice"),
        (&record, "{\"x\": 1, \"y\": null, \"y\": 1}", "/a/y", "appears twice"),
        (&record, "{\"x\": null}", "/a/x", "not null"),
        (&record, "{\"x\": 1, \"y\": \"\"}", "/a/y", "`u8`, not a string"),
        (&record, "[1]", "/a", "not an array"),
        (&records, "[{\"x\": 1}, {\"x\": 300}]", "/a/1/x", "`300`"),
        (&variant, "\"on\"", "/a", "has no `on`"),
        (&variant, "\"at\"", "/a", "case `at` has a payload"),
        (&variant, "{\"off\": null}", "/a", "case `off` has no payload"),
        (&variant, "{\"at\": true}", "/a/at", "not a boolean"),
        (&variant, "{\"at\": 1, \"off\": 1}", "/a", "exactly one member"),
        (&variant, "{}", "/a", "exactly one member"),
        (&variant, "{\"on\": 1}", "/a", "has no `on`"),
        (&variant, "1", "/a", "`variant { off, at(u8) }`, not a number"),
        (&outcome, "{\"ok\": null}", "/a/ok", "not null"),
        (&outcome, "{\"err\": 1}", "/a/err", "`null`, not a number"),
        (&outcome, "{\"other\": 1}", "/a", "has no `other`"),
        (&outcome, "{\"ok\": 1, \"ok\": 1}", "/a", "exactly one member"),
        (&outcome, "1", "/a", "`result<u8>`, not a number"),
        (&empty, "null", "/a", "`result`, not null"),
        (&twice, "1", "/a", "`option<option<u8>>`, not a number"),
        (&twice, "{\"some\": {\"some\": 1}}", "/a/some", "not an object"),
        (&twice, "{\"none\": null}", "/a", "has no `none`"),
        (&many, "\"n20\"", "/a", "has no `n20`"),
        (&many, "3", "/a", "not a number"),
    ]);
}

#[test]
fn bodies() {
    let params = [field("a", Type::U8), field("b", option(Type::U8))];
    for (body, pointer, part) in [
        ("", "-", "the body cannot be read as JSON: EOF while parsing a value at line 1, column 0"),
        ("{", "-", "EOF"),
        ("{\"a\": 1", "-", "EOF"),
        ("{\"a\": 1}}", "-", "trailing characters at line 1, column 9"),
        ("{\"a\": 1} {}", "-", "trailing characters"),
        ("{\"a\": 1,}", "-", "trailing comma"),
        ("{\n\"a\": 01}", "-", "at line 2, column"),
        ("{\"a\": +1}", "-", "expected value"),
        ("{\"a\": NaN}", "-", "expected value"),
        ("{\"a\": 1.}", "-", "invalid number"),
        ("{a: 1}", "-", "key must be a string"),
        ("{\"a\" 1}", "-", "expected `:`"),
        ("\u{feff}\u{feff}{\"a\": 1}", "-", "expected value"),
        ("nil", "-", "expected ident"),
        ("nul", "-", "EOF"),
        ("null", "", "the body takes `record { a: u8, b: option<u8> }`, not null"),
        (" [1]", "", "not an array"),
        ("1", "", "not a number"),
        ("\"a\"", "", "not a string"),
        ("true", "", "not a boolean"),
        ("{}", "/a", "`/a` is missing"),
        ("{\"A\": 1}", "/A", "`/A` is not a member"),
        ("{\"a\": 1, \"a\": 2}", "/a", "appears twice"),
        ("{\"a\": 1, \"\\u0000\": 2}", "/\u{fffd}", "not a member"),
    ] {
        check_body(&params, body, pointer, part);
    }
    check_body(&[], "{\"a\": 1}", "/a", "is not a member of `record {}`");
    check_body(&[], "[]", "", "not an array");
    check_body(&[field("s", Type::String)], "{\"s\": \"\\ud800\"}", "-", "line 1");
    check_body(&[field("s", Type::String)], "{\"s\": \"\n\"}", "-", "control character");
}

#[test]
fn long_text_of_callers_is_cut_short() {
    let long = "x".repeat(100_000);
    let record = [field("a", Type::Enum(numbered(5000).into()))];
    let body = format!("{{\"{long}\": 1}}");
    check_body(&record, &body, &format!("/{}…", "x".repeat(40)), "not a member");
    check_body(&record, &format!("{{\"a\": \"{long}\"}}"), "/a", "xxx…`");
    check_body(
        &[field("a", Type::U8)],
        &format!("{{\"a\": {}}}", "9".repeat(100_000)),
        "/a",
        "999…`",
    );
}

#[test]
fn deep_bodies_end_where_they_stop_to_fit() {
    let deep = "[".repeat(1_000_000);
    let error = parse::arguments(
        &[field("a", list(list(Type::Bool)))],
        format!("{{\"a\":{deep}").as_bytes(),
    );
    let error = error.expect_err("too deep");
    assert_eq!(error.place().map(|place| &*place.pointer), Some("/a/0/0"), "{error}");
    for ty in [Type::U8, list(Type::U8), Type::Flags(names(&["x"]))] {
        let body = format!("{{\"a\":{deep}{}}}", "]".repeat(1_000_000));
        assert!(parse::arguments(&[field("a", ty)], body.as_bytes()).is_err());
    }
}

#[test]
fn values_are_counted_and_numbers_in_lists_are_not() {
    let max = parse::VALUES_MAX;
    let body = |item: &str, count: usize| {
        format!("{{\"a\": [{}{item}]}}", format!("{item},").repeat(count - 1))
    };
    let bools = [field("a", list(Type::Bool))];
    assert!(parse::arguments(&bools, body("true", max - 1).as_bytes()).is_ok());
    let error = parse::arguments(&bools, body("true", max).as_bytes()).expect_err("too many");
    assert!(matches!(error, ValueError::TooMany { max: named, .. } if named == max), "{error}");
    assert!(parse::arguments(&[field("a", list(Type::U8))], body("1", max + 1).as_bytes()).is_ok());
    // Absent members take memory too.
    let absent = numbered(5000).into_iter().map(|name| Field { name, ty: option(Type::U8) });
    let wide = [field("a", list(Type::Record(absent.collect())))];
    assert!(parse::arguments(&wide, body("{}", 100).as_bytes()).is_ok());
    let error = parse::arguments(&wide, body("{}", 1000).as_bytes()).expect_err("too many");
    assert!(matches!(error, ValueError::TooMany { .. }), "{error}");
}
