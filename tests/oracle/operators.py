"""Prints host/crates/onnx/src/released.rs: the operators of ONNX's own domains, with the opset that brought each.

usage: operators.py > host/crates/onnx/src/released.rs

Asks ONNX, and ONNX Runtime, which adds some to ONNX's own domain and takes others earlier. In an environment of its own: `pip install
onnx==1.23.2 onnxruntime==1.31.1`. With other versions, change the limits in host/crates/onnx/src/limits.rs too.
"""

import onnx.defs
from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

WIDTH = 100


def since():
    """The first version of each operator, by domain."""
    first = {}
    for schema in [*get_all_operator_schema(), *onnx.defs.get_all_schemas_with_history()]:
        known = first.setdefault(schema.domain, {})
        known[schema.name] = min(known.get(schema.name, schema.since_version), schema.since_version)
    return first


def table(name, operators):
    lines, line = [], "   "
    for operator in sorted(operators):
        item = f' ("{operator}", {operators[operator]}),'
        if len(line + item) > WIDTH:
            lines.append(line)
            line = "   "
        line += item
    rows = "\n".join([*lines, line])
    return f"#[rustfmt::skip]\nconst {name}: [(&str, i64); {len(operators)}] = [\n{rows}\n];\n"


HEAD = '''//! The operators that ONNX has released up to version 1.23, and those that ONNX Runtime 1.31 adds to ONNX's own domain: since which opset.
//!
//! Written by `tests/oracle/operators.py`.

/// The operators of a domain, sorted by name, with the opset that brought each; `None` for a domain that is not listed.
pub(super) fn of_domain(domain: &str) -> Option<&'static [(&'static str, i64)]> {
    match domain {
        "" => Some(&ONNX),
        "ai.onnx.ml" => Some(&ML),
        _ => None,
    }
}

/// Operators of ONNX's own domain that a later opset took away: since which, and what came in their place.
pub(super) const GONE: [(&str, i64, &str); 2] =
    [("Scatter", 11, "ScatterElements"), ("Upsample", 10, "Resize")];
'''

TAIL = '''#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_can_be_searched() {
        for list in [&ONNX[..], &ML] {
            assert!(list.is_sorted_by_key(|(name, _)| name));
        }
    }
}'''

first = since()
print("\n".join([HEAD, table("ONNX", first[""]), table("ML", first["ai.onnx.ml"]), TAIL]))
