//! Definitions of the symbols used in the rules of terms and actions.

/// They are part of what is signed, like the rules.
pub static SYMBOLS: [(&str, &str); 31] = [
    ("value", "the right operand of the constraint"),
    ("unit", "the unit of the constraint"),
    ("value[i], rank(value)", "the i-th number of a list, and how many numbers it has"),
    (
        "zone(value), start(value), end(value)",
        "the parts of `HH:MM-HH:MM Area/City`: start, end, and the time zone of the IANA database",
    ),
    (
        "compare(a, operator, b)",
        "a stands to b as the operator says; isAnyOf and isNoneOf: a is, or is not, in the list b",
    ),
    ("precedence(version)", "as Semantic Versioning 2.0.0, section 11, orders versions"),
    ("rule", "the permission or prohibition in which the constraint stands"),
    ("issued", "the agreement's hospes:issued"),
    ("target", "the versions of the model that the document names"),
    (
        "asset",
        "the data that the prohibition names: inputs are arguments of calls, outputs their answers",
    ),
    ("host.country", "the country in which the host's operator states that it runs, as an IRI"),
    ("bundle.version", "the version of the bundle that runs"),
    ("imports of the bundle", "the capabilities of the host that its component imports"),
    ("call", "one execution of a function of the target on the host"),
    ("call.function", "the name of the function in the bundle's manifest"),
    ("call.begin", "when the host admits the call, by the host's clock, which is never set back"),
    ("call.wall", "the time from the beginning of the call in the sandbox to its end"),
    (
        "call.cpu",
        "the time that the guest's own code runs, and that computations run in its place; not the time that the call waits",
    ),
    ("call.memory", "the bytes of all linear memories of the call's instance"),
    ("call.input_bytes", "the bytes of the arguments as they came"),
    (
        "call.output_bytes",
        "the bytes of the answer as it would be released, after the output controls",
    ),
    (
        "call.rows",
        "the first dimension of the largest input tensor, or the elements of the longest list among the arguments that is not of numbers; at least 1",
    ),
    ("call.purpose", "the IRI that the caller states with the call"),
    (
        "call.units(unit)",
        "hospes:call: 1; hospes:row: call.rows; hospes:byte: call.input_bytes and the bytes of the answer as released; hospes:token: the elements of the largest integer tensor of each computation, summed over the call's computations",
    ),
    (
        "call.price",
        "the price of the call's units: payAmount for each unitOfCount beyond the free units that are left",
    ),
    (
        "free units left",
        "hospes:freeUnits less the units charged under the rule before, and not below 0",
    ),
    ("charged", "a call that has begun under the rule and has a receipt that counts it"),
    ("running", "a call that has begun under the rule and has not ended"),
    ("input tensor", "a tensor that the call brings in, or that is given to a model"),
    (
        "answer",
        "what the function returned. Ranked lists are lists of records or tuples that have a number, the first of which is the score; scores by position are lists of floating-point numbers and rows along the last axis of floating-point tensors; what can carry anything is an integer, a text, bytes, or a tensor of those",
    ),
    ("released", "given to the caller"),
];
