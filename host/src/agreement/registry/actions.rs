//! The table of actions.

use super::{Action, RuleKind, Verb};

/// Every action, in the order of [`Verb`].
pub static ACTIONS: [Action; 10] = [
    Action {
        action: Verb::Execute,
        name: "odrl:execute",
        rule: RuleKind::Model,
        phrase: "execute {}",
        meaning: "To call a function of the model on this host. In a permission `hospes:function` names it; in a prohibition it may be left out, and then every function is meant. A prohibition in force wins over every permission.",
    },
    Action {
        action: Verb::GrantUse,
        name: "odrl:grantUse",
        rule: RuleKind::Permission,
        phrase: "grant the use to others, in agreements of its own that are no wider than this one and draw on its limits",
        meaning: "To make sub-agreements (`inheritFrom`). `hospes:depth` says how many levels of them, 1 to 8.",
    },
    Action {
        action: Verb::Train,
        name: "odrl:ai-training",
        rule: RuleKind::Data,
        phrase: "train models with {}",
        meaning: "To use data for training or fine-tuning any model.",
    },
    Action {
        action: Verb::Distribute,
        name: "odrl:distribute",
        rule: RuleKind::Data,
        phrase: "pass on {}",
        meaning: "To give data to third parties.",
    },
    Action {
        action: Verb::Derive,
        name: "odrl:derive",
        rule: RuleKind::Data,
        phrase: "make derived works, such as distilled models, of {}",
        meaning: "To make new assets of data.",
    },
    Action {
        action: Verb::Archive,
        name: "odrl:archive",
        rule: RuleKind::Data,
        phrase: "keep {}",
        meaning: "To store data beyond the call; with `hospes:retention`, for longer than it says.",
    },
    Action {
        action: Verb::Compensate,
        name: "odrl:compensate",
        rule: RuleKind::Duty,
        phrase: "pay",
        meaning: "The price of the permission: `payAmount`, `unitOfCount` and perhaps `hospes:freeUnits`.",
    },
    Action {
        action: Verb::Attribute,
        name: "odrl:attribute",
        rule: RuleKind::Obligation,
        phrase: "name the other party wherever results are shown or published",
        meaning: "Attribution.",
    },
    Action {
        action: Verb::Inform,
        name: "odrl:inform",
        rule: RuleKind::Obligation,
        phrase: "give notice to the other party of how results are used",
        meaning: "Notice.",
    },
    Action {
        action: Verb::Delete,
        name: "odrl:delete",
        rule: RuleKind::Obligation,
        phrase: "delete what it holds of inputs and results when the agreement ends",
        meaning: "Deletion at the end.",
    },
];
