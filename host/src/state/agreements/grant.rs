//! The permission for one call before its turn, made from an agreement, the call's facts and later its arguments. For a publisher's call of
//! its own model, from the facts alone.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::life::Ends;
use super::own::Own;
use super::{Active, Agreements, PermitError, Refusals};
use crate::admission::{Admission, Allowance, TokenTab, Want};
use crate::agreement::{CallFacts, InputFacts, OnSuspend, Report, Rule, RuleSet, TensorLimits};
use crate::call::{Call, Timings};
use crate::controls::Controls;
use crate::id::{AccountName, Digest, Party};
use crate::inference::{PrefixScope, Tokens};
use crate::ledger::Ledger;
use crate::outcome::OutputLimit;
use crate::sandbox::{CallLimits, ComputeGate, Input};
use crate::state::accounts::Caller;
use crate::state::deployments::{Function, Stages};
use crate::stop::Stops;
use crate::tensor::{self, DataType, Tensor};

/// Permission for one call, before its limits over all calls and its turn. Only [`Agreements::permit`] makes one.
pub struct Grant {
    caller: Caller,
    by: By,
    rules: RuleSet,
    now: Timestamp,
    /// The input's known size before the call, and its maximum, in bytes.
    input_bytes: u64,
    input_bytes_most: u64,
    rows: u64,
    response_bytes_max: u64,
    wall_max: Duration,
    country: Option<Arc<str>>,
    refusals: Arc<Refusals>,
}

/// What permits a call.
enum By {
    Agreement {
        agreement: Arc<Active>,
        /// Taken before the agreement was found to be in force.
        ends: Ends,
    },
    /// The caller published the model.
    Own(Box<Own>),
}

impl Grant {
    pub(super) fn new(
        host: &Agreements,
        caller: &Caller,
        agreement: &Arc<Active>,
        rules: RuleSet,
        (facts, ends): (&CallFacts<'_>, Ends),
        input_bytes_most: u64,
    ) -> Self {
        let by = By::Agreement { agreement: Arc::clone(agreement), ends };
        Self::by(by, host, caller, rules, (facts, input_bytes_most))
    }

    /// The permission of a publisher for its own model.
    pub(super) fn own(
        host: &Agreements,
        caller: &Caller,
        own: Own,
        facts: &CallFacts<'_>,
        input_bytes_most: u64,
    ) -> Self {
        let by = By::Own(Box::new(own));
        Self::by(by, host, caller, RuleSet::FIRST, (facts, input_bytes_most))
    }

    fn by(
        by: By,
        host: &Agreements,
        caller: &Caller,
        rules: RuleSet,
        (facts, input_bytes_most): (&CallFacts<'_>, u64),
    ) -> Self {
        Self {
            caller: caller.clone(),
            by,
            rules,
            now: facts.now,
            input_bytes: facts.input_bytes,
            input_bytes_most,
            rows: 1,
            response_bytes_max: host.response_bytes_max,
            wall_max: host.wall_max,
            country: host.country.clone(),
            refusals: Arc::clone(&host.refusals),
        }
    }

    /// Who calls.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The account whose turn the call takes.
    pub fn account(&self) -> &AccountName {
        &self.caller.account().name
    }

    /// The agreement that permits the call; `None` for a publisher's own call.
    pub fn agreement(&self) -> Option<&Digest> {
        self.active().map(|active| active.id())
    }

    /// The publisher: the one in the agreement, or the caller under its present key.
    pub fn publisher(&self) -> Party {
        self.active().map_or(*self.caller.party(), |active| active.outline().publisher)
    }

    /// Who may share a beginning of a text: calls of this account under this agreement, until the agreement is suspended or stopped. What
    /// was computed before that is not found afterwards. The engine keeps models apart.
    pub fn prefix_scope(&self) -> PrefixScope {
        let mut key = format!("{} {}", self.account(), self.caller.party()).into_bytes();
        for active in std::iter::successors(self.active(), |active| active.parent()) {
            key.extend(active.id().as_bytes());
            key.extend(active.life().changes(self.now).into_iter().flat_map(u64::to_be_bytes));
        }
        PrefixScope(*Digest::of(&key).as_bytes())
    }

    fn active(&self) -> Option<&Arc<Active>> {
        match &self.by {
            By::Agreement { agreement, .. } => Some(agreement),
            By::Own(_) => None,
        }
    }

    /// Narrows the permission to the agreement's rules that also permit the arguments.
    ///
    /// # Errors
    /// The grant, and [`PermitError::Denied`] with the arguments that are not permitted.
    pub fn narrow(
        mut self,
        function: &Function,
        call: &Call,
        input: &Input,
    ) -> Result<Self, (Box<Self>, PermitError)> {
        let facts = InputFacts { rows: input.rows(), tensors: input.tensors() };
        let Some(active) = self.active() else {
            self.rows = facts.rows;
            return Ok(self);
        };
        let rules = active.terms().narrow(self.rules, &facts);
        if rules.is_empty() {
            if !self.refusals.explains(self.caller.party()) {
                return Err((Box::new(self), PermitError::TooManyRefused));
            }
            let report = Box::new(active.report(&self.facts(function, call), Some(facts)));
            return Err((Box::new(self), PermitError::Denied { report }));
        }
        (self.rules, self.rows) = (rules, facts.rows);
        Ok(self)
    }

    /// Why the call is permitted or refused now, for a call that finds a limit used up. `None` after too many refusals.
    pub fn report(&self, function: &Function, call: &Call) -> Option<Report> {
        let active = self.active()?;
        let input = InputFacts { rows: self.rows, tensors: &[] };
        let explains = self.refusals.explains(self.caller.party());
        explains.then(|| active.report(&self.facts(function, call), Some(input)))
    }

    /// Counts the call for its agreement and for the called version.
    pub fn count(&self, function: &Function, timings: &Timings, succeeded: bool, now: Timestamp) {
        let stages = Stages {
            queue: timings.admitted - timings.began,
            start: timings.instantiated - timings.admitted,
            run: timings.ran - timings.instantiated,
            settle: timings.ended - timings.ran,
        };
        let of_agreement = self.active().map(|active| active.statistics());
        for statistics in of_agreement.into_iter().chain([function.deployment().statistics()]) {
            statistics.record(&stages, succeeded, self.rows, now);
        }
    }

    /// The facts that the permission rests on.
    fn facts<'a>(&'a self, function: &'a Function, call: &'a Call) -> CallFacts<'a> {
        CallFacts {
            function: function.name(),
            now: self.now,
            input_bytes: self.input_bytes,
            purpose: call.purpose.as_deref(),
            country: self.country.as_deref(),
            imports: function.deployment().imports(),
        }
    }

    /// The rules that may count the call.
    pub fn allowances(&self) -> impl Iterator<Item = Allowance> + '_ {
        self.rules.iter().map(|rule| Allowance {
            rule,
            ledger: Arc::clone(self.ledger(rule)),
            want: self.want(self.rule(rule)),
            ends: self.rule(rule).ends(),
        })
    }

    fn want(&self, rule: &Rule) -> Want {
        Want {
            now: self.now,
            rows: self.rows,
            input_bytes: self.most_of_input(rule),
            output_bytes_max: self
                .response_bytes_max
                .min(rule.output_bytes_max().unwrap_or(u64::MAX)),
            wall_max: self.wall_max.min(rule.bounds().wall.unwrap_or(Duration::MAX)),
        }
    }

    /// Maximum size of the response in bytes, and the limit's origin.
    pub fn output_limit(&self, admission: &Admission) -> (u64, OutputLimit) {
        let reserved = admission.reservation().output_bytes_max(self.input_limit(admission));
        if reserved < self.response_bytes_max {
            (reserved, OutputLimit::Agreement)
        } else {
            (self.response_bytes_max, OutputLimit::Host)
        }
    }

    /// Maximum size in bytes of an input that arrives during the call.
    pub fn input_limit(&self, admission: &Admission) -> u64 {
        self.most_of_input(self.rule(admission.rule()))
    }

    fn most_of_input(&self, rule: &Rule) -> u64 {
        self.input_bytes_most.min(rule.input_bytes_max().unwrap_or(u64::MAX))
    }

    /// What of the response may be released.
    pub fn controls(&self, admission: &Admission) -> &Controls {
        self.rule(admission.rule()).controls()
    }

    /// The `limits` of host and bundle, narrowed to the agreement's.
    pub fn narrow_limits(&self, limits: CallLimits, admission: &Admission) -> CallLimits {
        let bounds = self.rule(admission.rule()).bounds();
        let memory = bounds.memory_bytes.and_then(|bytes| usize::try_from(bytes).ok());
        let wall = admission.reservation().wall_max();
        let deadline = limits.began.checked_add(wall).unwrap_or(limits.deadline);
        CallLimits {
            deadline: limits.deadline.min(deadline),
            cpu_max: bounds.cpu,
            memory_bytes_max: memory
                .map_or(limits.memory_bytes_max, |m| m.min(limits.memory_bytes_max)),
            ..limits
        }
    }

    /// Asked before each computation; `None` if everything is permitted.
    pub fn gate(&self, admission: &Admission) -> Option<Arc<dyn ComputeGate>> {
        let (rule, tokens) = (admission.rule(), admission.reservation().tokens().cloned());
        if tokens.is_none() && self.rule(rule).tensors().is_open() {
            return None;
        }
        // A closed gate always belongs to an agreement.
        let agreement = Arc::clone(self.active()?);
        Some(Arc::new(Gate { agreement, rule, tokens }))
    }

    /// Whether its inputs may be computed together with those of other consumers. A publisher's own calls may.
    pub fn leaves_company_to_the_host(&self, admission: &Admission) -> bool {
        self.active()
            .is_none_or(|active| active.terms().leaves_company_to_the_host(admission.rule()))
    }

    /// What ends a call of this function: suspension or end of the agreement, unless it lets running calls finish, and anything that the
    /// operator stops or withdraws.
    pub fn stops(&self, function: &Function) -> Stops {
        let (event, operator) = match &self.by {
            By::Agreement { agreement, ends } => {
                let aborts = agreement.terms().on_suspend() == OnSuspend::Abort;
                (aborts.then(|| Arc::clone(&ends.event)), &ends.operator)
            }
            By::Own(own) => (None, &own.stop),
        };
        Stops::new([
            event,
            Some(Arc::clone(operator)),
            Some(Arc::clone(self.caller.stop())),
            Some(Arc::clone(function.deployment().stop())),
        ])
    }

    /// Whether nothing of the call may be released any more.
    pub fn is_stopped(&self, function: &Function) -> bool {
        self.stops(function).cause().is_some()
    }

    pub(super) fn has_calls_left(&self) -> bool {
        self.rules.iter().any(|rule| self.ledger(rule).calls_left() != Some(0))
    }

    fn rule(&self, rule: u16) -> &Rule {
        match &self.by {
            By::Agreement { agreement, .. } => &agreement.terms().rules()[usize::from(rule)],
            By::Own(own) => &own.rule,
        }
    }

    fn ledger(&self, rule: u16) -> &Arc<Ledger> {
        match &self.by {
            By::Agreement { agreement, .. } => &agreement.ledgers()[usize::from(rule)],
            By::Own(own) => &own.ledger,
        }
    }
}

/// Checks the tensors that a guest passes to a model against the agreement.
struct Gate {
    agreement: Arc<Active>,
    rule: u16,
    tokens: Option<Arc<TokenTab>>,
}

impl ComputeGate for Gate {
    fn admit(&self, inputs: &[(String, Tensor)]) -> Result<(), String> {
        let limits: &TensorLimits =
            self.agreement.terms().rules()[usize::from(self.rule)].tensors();
        if let Some((name, tensor)) = inputs.iter().find(|(_, tensor)| !limits.allow(tensor)) {
            let (ty, shape) = (tensor.data_type(), tensor.shape());
            return Err(format!("it gave the model `{name}` as {ty} of shape {shape:?}"));
        }
        match &self.tokens {
            Some(tab) if !tab.take(tokens(inputs)) => Err("its tokens are used up".to_owned()),
            Some(_) | None => Ok(()),
        }
    }

    fn tokens(&self) -> Option<Arc<dyn Tokens>> {
        let tab = self.tokens.as_ref()?;
        Some(Arc::new(Tab(Arc::clone(tab))))
    }
}

/// The tokens of a call that its sequences take and give back.
struct Tab(Arc<TokenTab>);

impl Tokens for Tab {
    fn take(&self, tokens: u64) -> bool {
        self.0.take(tokens)
    }

    fn give_back(&self, tokens: u64) {
        self.0.give_back(tokens);
    }
}

/// Elements of the largest integer tensor of any width: token identifiers.
fn tokens(inputs: &[(String, Tensor)]) -> u64 {
    let elements =
        |tensor: &Tensor| tensor::count(tensor.shape()).map_or(u64::MAX, |count| count as u64);
    let integers = inputs.iter().filter(|(_, tensor)| is_integer(tensor.data_type()));
    integers.map(|(_, tensor)| elements(tensor)).max().unwrap_or(0)
}

/// No catch-all: every new type needs a decision here.
const fn is_integer(ty: DataType) -> bool {
    match ty {
        DataType::U8
        | DataType::U16
        | DataType::U32
        | DataType::U64
        | DataType::I8
        | DataType::I16
        | DataType::I32
        | DataType::I64 => true,
        DataType::Bool
        | DataType::F16
        | DataType::Bf16
        | DataType::F32
        | DataType::F64
        | DataType::Bytes => false,
    }
}
