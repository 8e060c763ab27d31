//! The table of actions.

use super::{Action, RuleKind, Verb};

/// Every action, in the order of [`Verb`].
pub static ACTIONS: [Action; 10] = [
    Action {
        action: Verb::Execute,
        name: "odrl:execute",
        rule: RuleKind::Model,
        norm: "call a function of target on this host",
        phrase: "execute {}",
        meaning: "To call a function of the model on this host. In a permission `hospes:function` names it; in a prohibition it may be left out, and then every function is meant. A prohibition in force wins over every permission.",
    },
    Action {
        action: Verb::GrantUse,
        name: "odrl:grantUse",
        rule: RuleKind::Permission,
        norm: "make agreements that inherit from this one, at most depth levels below it",
        phrase: "grant the use to others, in agreements of its own that are no wider than this one and draw on its limits",
        meaning: "To make sub-agreements (`inheritFrom`). `hospes:depth` says how many levels of them, 1 to 8.",
    },
    Action {
        action: Verb::Train,
        name: "odrl:ai-training",
        rule: RuleKind::Data,
        norm: "use asset to train or fine-tune a model",
        phrase: "train models with {}",
        meaning: "To use data for training or fine-tuning any model.",
    },
    Action {
        action: Verb::Distribute,
        name: "odrl:distribute",
        rule: RuleKind::Data,
        norm: "give asset to a third party",
        phrase: "pass on {}",
        meaning: "To give data to third parties.",
    },
    Action {
        action: Verb::Derive,
        name: "odrl:derive",
        rule: RuleKind::Data,
        norm: "make another asset from asset",
        phrase: "make derived works, such as distilled models, of {}",
        meaning: "To make new assets of data.",
    },
    Action {
        action: Verb::Archive,
        name: "odrl:archive",
        rule: RuleKind::Data,
        norm: "keep asset after the call, longer than a stated retention",
        phrase: "keep {}",
        meaning: "To store data beyond the call; with `hospes:retention`, for longer than it says.",
    },
    Action {
        action: Verb::Compensate,
        name: "odrl:compensate",
        rule: RuleKind::Duty,
        norm: "pay payAmount for each unitOfCount charged, after freeUnits",
        phrase: "pay",
        meaning: "The price of the permission: `payAmount`, `unitOfCount` and perhaps `hospes:freeUnits`.",
    },
    Action {
        action: Verb::Attribute,
        name: "odrl:attribute",
        rule: RuleKind::Obligation,
        norm: "name the other side where results are shown or published",
        phrase: "name the other party wherever results are shown or published",
        meaning: "Attribution.",
    },
    Action {
        action: Verb::Inform,
        name: "odrl:inform",
        rule: RuleKind::Obligation,
        norm: "tell the other side how results are used",
        phrase: "give notice to the other party of how results are used",
        meaning: "Notice.",
    },
    Action {
        action: Verb::Delete,
        name: "odrl:delete",
        rule: RuleKind::Obligation,
        norm: "delete inputs and results when the agreement ends",
        phrase: "delete what it holds of inputs and results when the agreement ends",
        meaning: "Deletion at the end.",
    },
];
