//! An agreement compiled for the request path: a few integers per rule, no text to interpret.

use std::time::Duration;

use jiff::Timestamp;
use semver::Version;

use crate::controls::Controls;
use crate::document::clause::{Ban, Constraint, Permission, Prohibition, Unit};
use crate::document::codec::SignedAgreement;
use crate::document::value::{DailyWindow, RightOperand, Span};
use crate::document::{Agreement, OnSuspend, Versions};
use crate::ledger::limits::{Limits, Metered, PerInterval, Rate, Tariff};
use crate::registry::{Operand, Operator};
use hospes_core::capability::{Capabilities, Capability};
use hospes_core::id::{Digest, FunctionName, ModelName, Party};
use hospes_core::tensor::{DataType, Tensor};

/// The compiled permissions of a signed agreement.
#[derive(Debug)]
pub struct Terms {
    pub(super) agreement: Digest,
    pub(super) assigner: Party,
    pub(super) assignee: Party,
    pub(super) model: ModelName,
    pub(super) versions: Versions,
    pub(super) rules: Box<[Rule]>,
    pub(super) bans: Box<[BanRule]>,
    pub(super) max_stale: Option<Duration>,
    pub(super) on_suspend: OnSuspend,
    /// Whether it prohibits anything that is done with data.
    pub(super) protects_data: bool,
}

/// One permission. Its position in the document is its number.
#[derive(Debug)]
pub struct Rule {
    pub(super) function: FunctionName,
    pub(super) gates: Gates,
    pub(super) input_bytes_max: Option<u64>,
    pub(super) output_bytes_max: Option<u64>,
    pub(super) rows_max: Option<u64>,
    pub(super) tensors: TensorLimits,
    pub(super) withheld: Capabilities,
    pub(super) bounds: CallBounds,
    pub(super) controls: Controls,
    pub(super) limits: Limits,
}

/// One prohibition to execute.
#[derive(Debug)]
pub(super) struct BanRule {
    pub function: Option<FunctionName>,
    pub gates: Gates,
}

/// A condition of permissions and prohibitions.
#[derive(Debug, Default)]
pub(super) struct Gates {
    pub begin: Option<Bound>,
    pub end: Option<Bound>,
    pub window: Option<DailyWindow>,
    pub purpose_any: Option<Box<[Box<str>]>>,
    pub purpose_none: Option<Box<[Box<str>]>>,
    pub country_any: Option<Box<[Box<str>]>>,
    pub country_none: Option<Box<[Box<str>]>>,
}

/// A time limit, and whether it is inclusive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    pub at: Timestamp,
    pub inclusive: bool,
}

/// Maximum usage of one call. `None` means unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallBounds {
    pub cpu: Option<Duration>,
    pub wall: Option<Duration>,
    pub memory_bytes: Option<u64>,
}

/// Which tensors a model may get.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TensorLimits {
    /// The largest shape; a size of 0 is unlimited.
    shape_max: Option<Box<[u64]>>,
    /// The permitted types.
    data_types: Option<Box<[DataType]>>,
}

impl TensorLimits {
    /// Whether nothing is limited.
    pub fn is_open(&self) -> bool {
        self.shape_max.is_none() && self.data_types.is_none()
    }

    /// Whether the type is allowed.
    pub fn allow_type(&self, tensor: &Tensor) -> bool {
        self.data_types.as_ref().is_none_or(|types| types.contains(&tensor.data_type()))
    }

    /// Whether the shape is allowed.
    pub fn allow_shape(&self, tensor: &Tensor) -> bool {
        self.shape_max.as_ref().is_none_or(|max| {
            max.len() == tensor.shape().len()
                && max
                    .iter()
                    .zip(tensor.shape())
                    .all(|(max, size)| *max == 0 || *size as u64 <= *max)
        })
    }

    /// Whether both are.
    pub fn allow(&self, tensor: &Tensor) -> bool {
        self.allow_type(tensor) && self.allow_shape(tensor)
    }
}

impl Terms {
    /// Compiles an agreement. Cannot fail: what this host cannot enforce was rejected when the agreement was parsed.
    pub fn compile(signed: &SignedAgreement) -> Self {
        Self::preview(signed.id(), signed.agreement())
    }

    /// The terms of an unsigned agreement: to be queried, never enforced.
    pub fn preview(id: &Digest, agreement: &Agreement) -> Self {
        let clauses = agreement.clauses();
        let issued = agreement.issued();
        Self {
            agreement: *id,
            assigner: *agreement.assigner(),
            assignee: *agreement.assignee(),
            model: agreement.model().clone(),
            versions: clauses.target.versions.clone(),
            rules: clauses
                .permissions
                .iter()
                .map(|permission| Rule::compile(permission, issued))
                .collect(),
            bans: clauses.prohibitions.iter().filter_map(BanRule::compile).collect(),
            max_stale: clauses.max_stale.map(Span::as_duration),
            on_suspend: clauses.on_suspend,
            protects_data: clauses
                .prohibitions
                .iter()
                .any(|prohibition| matches!(prohibition.ban, Ban::Data { .. })),
        }
    }

    /// Whether inputs of a call that this rule counts may be computed together with those of other consumers. No term is about that, so
    /// only an agreement that says nothing of tensors, purposes or data leaves it to the host.
    pub fn leaves_company_to_the_host(&self, rule: u16) -> bool {
        let is_open = |rule: &Rule| {
            let gates = &rule.gates;
            rule.tensors.is_open() && gates.purpose_any.is_none() && gates.purpose_none.is_none()
        };
        !self.protects_data && self.rules.get(usize::from(rule)).is_some_and(is_open)
    }

    /// The digest of the agreement.
    pub fn agreement(&self) -> &Digest {
        &self.agreement
    }

    pub fn assigner(&self) -> &Party {
        &self.assigner
    }

    /// The permitted caller.
    pub fn assignee(&self) -> &Party {
        &self.assignee
    }

    pub fn model(&self) -> &ModelName {
        &self.model
    }

    /// Whether a version may be called.
    pub fn covers(&self, bundle: &Digest, version: &Version) -> bool {
        self.versions.cover(bundle, version)
    }

    /// Whether earlier usage can deny a later call.
    pub fn remember_calls(&self) -> bool {
        self.rules().iter().any(|rule| rule.limits().remember_calls())
    }

    /// The permissions, in document order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Maximum age of the host's knowledge of the agreement.
    pub fn max_stale(&self) -> Option<Duration> {
        self.max_stale
    }

    pub fn on_suspend(&self) -> OnSuspend {
        self.on_suspend
    }

    /// Whether no rule will permit a call again.
    pub fn is_ended(&self, now: Timestamp) -> bool {
        self.rules.iter().all(|rule| rule.is_ended(now))
    }
}

impl Bound {
    pub fn is_past(self, now: Timestamp) -> bool {
        if self.inclusive { now > self.at } else { now >= self.at }
    }

    pub fn is_ahead(self, now: Timestamp) -> bool {
        if self.inclusive { now < self.at } else { now <= self.at }
    }
}

impl BanRule {
    fn compile(prohibition: &Prohibition) -> Option<Self> {
        let Ban::Execute(function) = &prohibition.ban else { return None };
        let mut gates = Gates::default();
        prohibition.constraints.iter().for_each(|constraint| gates.compile(constraint));
        Some(Self { function: function.clone(), gates })
    }
}

impl Rule {
    /// A free and unlimited permission for a function.
    pub fn unlimited(function: FunctionName) -> Self {
        Self {
            function,
            gates: Gates::default(),
            input_bytes_max: None,
            output_bytes_max: None,
            rows_max: None,
            tensors: TensorLimits::default(),
            withheld: Capabilities::default(),
            bounds: CallBounds::default(),
            controls: Controls::default(),
            limits: Limits::default(),
        }
    }

    pub fn function(&self) -> &FunctionName {
        &self.function
    }

    /// When the rule ends.
    pub fn ends(&self) -> Option<Timestamp> {
        self.gates.end.map(|end| end.at)
    }

    /// Whether it has expired.
    pub fn is_ended(&self, now: Timestamp) -> bool {
        self.gates.end.is_some_and(|end| end.is_past(now))
    }

    /// Maximum input size, in bytes.
    pub fn input_bytes_max(&self) -> Option<u64> {
        self.input_bytes_max
    }

    /// Maximum response size, in bytes.
    pub fn output_bytes_max(&self) -> Option<u64> {
        self.output_bytes_max
    }

    /// What may be released.
    pub fn controls(&self) -> &Controls {
        &self.controls
    }

    /// Limits of one call.
    pub fn bounds(&self) -> CallBounds {
        self.bounds
    }

    /// Which tensors a model may get.
    pub fn tensors(&self) -> &TensorLimits {
        &self.tensors
    }

    /// Limits over all calls.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    fn compile(permission: &Permission, issued: Timestamp) -> Self {
        let price = permission.price.as_ref().map(|price| Tariff {
            unit: metered(price.unit),
            micros: price.amount.0,
            free: price.free.unwrap_or(0),
            credit: None,
        });
        let mut rule = Self::unlimited(permission.function.clone());
        rule.limits.price = price;
        let all = permission.refinements.iter().chain(&permission.constraints);
        all.for_each(|constraint| rule.add(constraint, issued));
        rule
    }

    fn add(&mut self, constraint: &Constraint, issued: Timestamp) {
        let integer = constraint.integer();
        let span = constraint.span().map(Span::as_duration);
        match constraint.operand {
            Operand::DateTime | Operand::DailyWindow | Operand::Purpose | Operand::Spatial => {
                self.gates.compile(constraint);
            }
            Operand::TopK => self.controls.top_k = integer.and_then(|k| u32::try_from(k).ok()),
            Operand::OutputDecimals => {
                self.controls.decimals = integer.and_then(|digits| u8::try_from(digits).ok());
            }
            Operand::OutputFields => self.controls.fields = Some(constraint.texts().into()),
            Operand::LabelOnly => self.controls.label_only = true,
            Operand::TimeInterval => self.limits.interval = span,
            Operand::ElapsedTime => self.limits.elapsed_time = span,
            Operand::MeteredTime => self.limits.metered_time = span,
            Operand::Count => {
                let unit = constraint.unit.as_deref().and_then(Unit::named).unwrap_or(Unit::Call);
                self.limits.most[metered(unit) as usize] = integer;
            }
            Operand::CallsPerInterval => {
                self.limits.per_interval =
                    integer.zip(constraint.period()).map(|(most, period)| PerInterval {
                        most,
                        period: period.as_duration(),
                        from: issued,
                    });
            }
            Operand::CallRate => {
                self.limits.rate = integer
                    .zip(constraint.period())
                    .map(|(burst, period)| Rate { burst, period: period.as_duration() });
            }
            Operand::Concurrency => self.limits.concurrency = integer,
            Operand::InputBytes => self.input_bytes_max = integer,
            Operand::OutputBytes => self.output_bytes_max = integer,
            Operand::BatchRows => self.rows_max = integer,
            Operand::InputShape => {
                if let RightOperand::Integers(shape) = &constraint.value {
                    self.tensors.shape_max = Some(shape.clone());
                }
            }
            Operand::InputDtype => {
                let types = constraint.texts().iter().filter_map(|name| name.parse().ok());
                self.tensors.data_types = Some(types.collect());
            }
            Operand::CpuTime => self.bounds.cpu = span,
            Operand::WallTime => self.bounds.wall = span,
            Operand::MemoryBytes => self.bounds.memory_bytes = integer,
            Operand::HostCapability => {
                let named = constraint.texts().iter().filter_map(|name| Capability::named(name));
                self.withheld = named.collect();
            }
            Operand::Credit => {
                if let (RightOperand::Decimal(amount), Some(price)) =
                    (&constraint.value, &mut self.limits.price)
                {
                    price.credit = Some(amount.0);
                }
            }
            // Promises stay in the document and are shown as such; the host does nothing.
            Operand::Recipient | Operand::Product | Operand::Industry => {}
            // Handled elsewhere: see `TermPlace`.
            Operand::Function
            | Operand::Version
            | Operand::PayAmount
            | Operand::UnitOfCount
            | Operand::FreeUnits
            | Operand::Retention => {}
        }
    }
}

impl Gates {
    fn compile(&mut self, constraint: &Constraint) {
        let texts = || Some(constraint.texts().into());
        match (constraint.operand, constraint.operator, &constraint.value) {
            (Operand::DateTime, operator, RightOperand::DateTime(at)) => {
                let inclusive = matches!(operator, Operator::Lteq | Operator::Gteq);
                let bound = Some(Bound { at: *at, inclusive });
                match operator {
                    Operator::Gt | Operator::Gteq => self.begin = bound,
                    _ => self.end = bound,
                }
            }
            (Operand::DailyWindow, _, RightOperand::Text(text)) => self.window = text.parse().ok(),
            (Operand::Purpose, Operator::IsNoneOf, _) => self.purpose_none = texts(),
            (Operand::Purpose, _, _) => self.purpose_any = texts(),
            (Operand::Spatial, Operator::IsNoneOf, _) => self.country_none = texts(),
            (Operand::Spatial, _, _) => self.country_any = texts(),
            _ => {}
        }
    }
}

/// The part of a response that a permission releases.
pub fn controls_of(permission: &Permission) -> Controls {
    Rule::compile(permission, Timestamp::UNIX_EPOCH).controls
}

pub(super) const fn metered(unit: Unit) -> Metered {
    match unit {
        Unit::Call => Metered::Calls,
        Unit::Row => Metered::Rows,
        Unit::Byte => Metered::Bytes,
        Unit::Token => Metered::Tokens,
    }
}
