//! How an agreement comes into force: what it may take the place of, and what it may be a part of.

use std::sync::Arc;

use super::life::Life;
use super::{Active, Agreements, AgreementsError, Directory, Standing};
use crate::admission::Ledger;
use crate::agreement::{Agreement, Proposal, Role, SignedAgreement, Terms, parent_rules};
use crate::auth::Auth;
use crate::store::Table;

impl Agreements {
    /// Brings back what the store holds. Agreements that others rest on come before those.
    pub(super) fn restore(&self) -> Result<(), AgreementsError> {
        let mut directory = Directory::default();
        let mut waiting = Vec::new();
        for (key, record) in self.stored()? {
            let read =
                Proposal::parse(&record).or_else(|error| self.parse_mandated(&record, error));
            let proposal = read.map_err(|error| damaged(&key, error.into()))?;
            waiting.push((key, proposal));
        }
        while !waiting.is_empty() {
            let before = waiting.len();
            let mut later = Vec::new();
            for (key, proposal) in waiting {
                let clauses = proposal.agreement().clauses();
                // What it supersedes is asked for once both have signed, what it is a part of always.
                let supersedes = clauses.supersedes.filter(|_| proposal.missing().is_empty());
                let mut rests_on = clauses.parent.into_iter().chain(supersedes);
                if rests_on.all(|id| directory.active(&id).is_some()) {
                    let standing = self.standing(&directory, proposal);
                    directory.insert(standing.map_err(|error| damaged(&key, error))?);
                } else {
                    later.push((key, proposal));
                }
            }
            if let [(key, proposal), ..] = later.as_slice()
                && later.len() == before
            {
                let clauses = proposal.agreement().clauses();
                let missing = clauses.parent.or(clauses.supersedes).unwrap_or(*proposal.id());
                return Err(damaged(key, AgreementsError::NoParent(missing)));
            }
            waiting = later;
        }
        self.restore_events(&directory)?;
        self.directory.store(Arc::new(directory));
        Ok(())
    }

    /// Takes a proposal whose terms both sides have been shown. When both have signed, it comes into force.
    ///
    /// # Errors
    /// [`AgreementsError`]; nothing was changed then.
    pub fn take(&self, mut proposal: Proposal) -> Result<Standing, AgreementsError> {
        let _changing = self.changing.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut directory = Directory::clone(&self.directory.load());
        match directory.all.get(proposal.id()) {
            Some(Standing::Active(active)) => return Ok(Standing::Active(Arc::clone(active))),
            Some(Standing::Proposed(known)) => proposal.merge(known)?,
            None => self.check_room(&directory, &proposal)?,
        }
        let agreement = proposal.agreement();
        let parties = [agreement.assigner(), agreement.assignee()];
        if let Some(retired) = parties.into_iter().find(|party| self.auth.is_retired(party)) {
            return Err(AgreementsError::Retired(*retired));
        }
        self.check_held(proposal.id(), agreement)?;
        self.agree_for_publisher(&directory, &mut proposal)?;
        let (id, bytes) = (proposal.id().to_string(), proposal.to_bytes());
        let superseded = proposal.agreement().clauses().supersedes;
        let standing = self.standing(&directory, proposal)?;
        match (&standing, superseded) {
            (Standing::Active(_), Some(earlier)) => {
                let earlier =
                    directory.active(&earlier).ok_or(AgreementsError::NotSuperseding(earlier))?;
                if earlier.in_force(self.now(), self.as_of()).is_err() {
                    return Err(AgreementsError::NotSuperseding(*earlier.id()));
                }
                self.supersede(earlier, &standing, (&id, &bytes))?;
            }
            (Standing::Active(_) | Standing::Proposed(_), _) => {
                self.store.put(Table::Agreements, &id, &bytes)?;
            }
        }
        directory.insert(standing.clone());
        self.directory.store(Arc::new(directory));
        Ok(standing)
    }

    fn standing(
        &self,
        directory: &Directory,
        proposal: Proposal,
    ) -> Result<Standing, AgreementsError> {
        match proposal.complete() {
            Err(proposal) => {
                // Shown to be impossible now, not when the second party has signed too.
                self.above(directory, proposal.agreement())?;
                Ok(Standing::Proposed(Arc::from(proposal)))
            }
            Ok(signed) => Ok(Standing::Active(self.activate(directory, signed)?)),
        }
    }

    fn activate(
        &self,
        directory: &Directory,
        signed: SignedAgreement,
    ) -> Result<Arc<Active>, AgreementsError> {
        let above = self.above(directory, signed.agreement())?;
        let earlier = match signed.agreement().clauses().supersedes {
            None => None,
            Some(id) => Some(superseded(&self.auth, directory, signed.agreement(), &id)?),
        };
        let terms = Terms::compile(&signed);
        let mut ledgers: Vec<Arc<Ledger>> = Vec::with_capacity(terms.rules().len());
        let mut continued = vec![false; earlier.map_or(0, |earlier| earlier.ledgers().len())];
        for (index, rule) in terms.rules().iter().enumerate() {
            let parent = above.as_ref().and_then(|Above { parent, rules }| {
                parent.ledgers().get(usize::from(*rules.get(index)?)).cloned()
            });
            // The first rule for the same function that no other rule goes on with.
            let before = earlier.and_then(|earlier| {
                let same =
                    earlier.terms().rules().iter().enumerate().find(|(number, old)| {
                        old.function() == rule.function() && !continued[*number]
                    });
                same.map(|(number, _)| (number, &earlier.ledgers()[number]))
            });
            ledgers.push(match before {
                Some((number, before)) => {
                    continued[number] = true;
                    Ledger::continuing(rule.limits().clone(), before, parent)
                }
                None => Ledger::new(rule.limits().clone(), parent),
            });
        }
        let life = Life::new(&signed, self.key.party());
        Ok(Active::new(signed, terms, ledgers, above.map(|above| above.parent), life))
    }

    /// The agreement that this one is to be a part of, and for each rule the rule above it.
    fn above(
        &self,
        directory: &Directory,
        agreement: &Agreement,
    ) -> Result<Option<Above>, AgreementsError> {
        let Some(id) = agreement.clauses().parent else { return Ok(None) };
        let parent = directory.active(&id).ok_or(AgreementsError::NoParent(id))?;
        if !self.auth.are_one(parent.agreement().assignee(), agreement.assigner()) {
            return Err(AgreementsError::NoParent(id));
        }
        let rules = parent_rules(agreement.clauses(), parent.agreement().clauses())?;
        Ok(Some(Above { parent: Arc::clone(parent), rules }))
    }

    /// Only who has signed fills up its own room.
    fn check_room(
        &self,
        directory: &Directory,
        proposal: &Proposal,
    ) -> Result<(), AgreementsError> {
        let max = self.per_party_max;
        let signed =
            [Role::Publisher, Role::Consumer].into_iter().filter(|role| proposal.signed_by(*role));
        let mut signers = signed.map(|role| proposal.agreement().party(role));
        let full =
            signers.any(|party| directory.per_party.get(party).is_some_and(|has| *has >= max));
        if full { Err(AgreementsError::TooMany { max }) } else { Ok(()) }
    }
}

/// The agreement that another is a part of, and for each rule of that other the rule above it.
struct Above {
    parent: Arc<Active>,
    rules: Vec<u16>,
}

fn superseded<'a>(
    auth: &Auth,
    directory: &'a Directory,
    agreement: &Agreement,
    id: &crate::id::Digest,
) -> Result<&'a Arc<Active>, AgreementsError> {
    let earlier = directory.active(id).filter(|earlier| {
        let earlier = earlier.agreement();
        auth.are_one(earlier.assigner(), agreement.assigner())
            && auth.are_one(earlier.assignee(), agreement.assignee())
            && earlier.model() == agreement.model()
            && earlier.clauses().parent == agreement.clauses().parent
    });
    earlier.ok_or(AgreementsError::NotSuperseding(*id))
}

fn damaged(key: &str, source: AgreementsError) -> AgreementsError {
    AgreementsError::Damaged { key: key.to_owned(), source: Box::new(source) }
}
