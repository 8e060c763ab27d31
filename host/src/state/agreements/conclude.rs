//! How an agreement comes into force: what it may supersede, and what it may be a part of.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::directory::Room;
use super::life::Life;
use super::{Active, Agreements, AgreementsError, Directory, Outline, Proposed, Standing};
use crate::admission::Ledger;
use crate::agreement::{Agreement, Proposal, SignedAgreement, Terms, parent_rules};
use crate::id::{ById, Digest};
use crate::state::accounts::Auth;
use crate::store::Table;

impl Agreements {
    /// Restores the stored agreements. Unreadable ones, and those based on them, are set aside.
    pub(super) fn restore(&self) -> Result<(), AgreementsError> {
        let mut directory = Directory::default();
        let since = self.proposed_since()?;
        // By the agreement they are based on, which has not been read yet.
        let mut waiting: ById<Digest, Vec<String>> = ById::default();
        for key in self.store.keys(Table::Agreements)? {
            let mut next = vec![key];
            while let Some(key) = next.pop() {
                // One at a time: documents are much larger than what is kept of them.
                let Some(record) = self.store.get(Table::Agreements, &key)? else { continue };
                match self.restore_one(&mut directory, &record, &since) {
                    Ok(Restored::Entered(id)) => {
                        next.extend(waiting.remove(&id).unwrap_or_default());
                    }
                    Ok(Restored::RestsOn(id)) => waiting.entry(id).or_default().push(key),
                    Err(error @ AgreementsError::Store(_)) => return Err(error),
                    Err(error) => self.store.set_aside(Table::Agreements, &key, &error),
                }
            }
        }
        for (id, keys) in waiting {
            let reason = AgreementsError::NotHere(id);
            keys.iter().for_each(|key| self.store.set_aside(Table::Agreements, key, &reason));
        }
        self.keep_since(&directory)?;
        self.restore_events(&directory)?;
        self.directory.store(Arc::new(directory));
        Ok(())
    }

    fn restore_one(
        &self,
        directory: &mut Directory,
        record: &[u8],
        since: &HashMap<Digest, Timestamp>,
    ) -> Result<Restored, AgreementsError> {
        let proposal =
            Proposal::parse(record).or_else(|error| self.parse_mandated(record, error))?;
        if let Some(id) = rests_on(&proposal).find(|id| directory.active(id).is_none()) {
            return Ok(Restored::RestsOn(id));
        }
        let since = since.get(proposal.id()).copied().unwrap_or_else(|| self.now_kept());
        let (id, outline) = (*proposal.id(), Outline::of(&proposal));
        directory.insert(self.standing(directory, proposal, since)?);
        self.room().enter(&outline, since);
        Ok(Restored::Entered(id))
    }

    /// Takes a proposal whose terms both sides have seen. When both have signed, it comes into force.
    ///
    /// # Errors
    /// [`AgreementsError`]; nothing was changed.
    pub fn take(&self, mut proposal: Proposal) -> Result<Standing, AgreementsError> {
        if let Some(reason) = self.store.why_aside(Table::Agreements, &proposal.id().to_string()) {
            return Err(AgreementsError::Aside { id: *proposal.id(), reason });
        }
        let mut room = self.room_for(proposal.id());
        let directory = self.directory.load_full();
        let known = match directory.get(proposal.id()) {
            Some(Standing::Active(active)) => return Ok(Standing::Active(Arc::clone(active))),
            Some(Standing::Proposed(known)) => {
                let envelope = self.documents.envelope(proposal.id())?;
                let kept = Proposal::parse(&envelope)
                    .or_else(|error| self.parse_mandated(&envelope, error))?;
                proposal.merge(&kept)?;
                Some((Outline::of(&kept), known.since()))
            }
            None => None,
        };
        let agreement = proposal.agreement();
        let parties = [agreement.assigner(), agreement.assignee()];
        if let Some(retired) = parties.into_iter().find(|party| self.auth.is_retired(party)) {
            return Err(AgreementsError::Retired(*retired));
        }
        self.check_held(proposal.id(), agreement)?;
        self.check_not_ahead(agreement)?;
        self.agree_for_publisher(&room, &mut proposal)?;
        let outline = Outline::of(&proposal);
        self.check_room(&room, &outline, known.as_ref().map(|(outline, _)| outline))?;
        let since = known.as_ref().map_or_else(|| self.now_kept(), |(_, since)| *since);
        let bytes = proposal.to_bytes();
        let superseded = proposal.agreement().clauses().supersedes;
        let standing = self.standing(&directory, proposal, since)?;
        let entry = Entry { outline, known: known.map(|(outline, _)| outline), since };
        match (&standing, superseded) {
            (Standing::Active(_), Some(earlier)) => {
                let earlier =
                    directory.active(&earlier).ok_or(AgreementsError::NotSuperseding(earlier))?;
                // A frozen agreement would pass on its counts, which may be too low.
                if earlier.in_force(self.now(), self.as_of()).is_err()
                    || self.held(earlier).is_some()
                {
                    return Err(AgreementsError::NotSuperseding(*earlier.id()));
                }
                self.supersede(earlier, &standing, &bytes)?;
                entry.take_room(&mut room);
            }
            (Standing::Active(_), None) | (Standing::Proposed(_), _) => {
                room = self.keep(room, entry, &bytes)?;
            }
        }
        let mut directory = Directory::clone(&self.directory.load());
        directory.insert(standing.clone());
        self.directory.store(Arc::new(directory));
        drop(room);
        Ok(standing)
    }

    /// The usage, without this agreement's own pending write.
    fn room_for(&self, id: &Digest) -> MutexGuard<'_, Room> {
        let mut room = self.room();
        while room.on_its_way.contains(id) {
            room = self.arrived.wait(room).unwrap_or_else(PoisonError::into_inner);
        }
        room
    }

    /// Writes an agreement while others are written, so that several share a commit. Its room is reserved before, and released unless the
    /// write succeeds. Concurrent submissions of the same agreement wait.
    fn keep<'a>(
        &'a self,
        room: MutexGuard<'a, Room>,
        entry: Entry,
        bytes: &[u8],
    ) -> Result<MutexGuard<'a, Room>, AgreementsError> {
        let way = OnItsWay::begin(self, room, entry);
        let Entry { outline, since, .. } = &way.entry;
        if outline.missing().is_empty() {
            self.store.put(Table::Agreements, &outline.id.to_string(), bytes)?;
        } else {
            self.keep_proposal(&outline.id, bytes, *since)?;
        }
        Ok(way.arrive())
    }

    fn standing(
        &self,
        directory: &Directory,
        proposal: Proposal,
        since: Timestamp,
    ) -> Result<Standing, AgreementsError> {
        match proposal.complete() {
            Err(proposal) => {
                // Report impossible terms now, not when the second party signs.
                self.above(directory, proposal.agreement())?;
                let outline = Outline::of(&proposal);
                Ok(Standing::Proposed(Proposed::new(outline, &self.documents, since)))
            }
            Ok(signed) => Ok(Standing::Active(self.activate(directory, signed)?)),
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "what is kept is not looked at again")]
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
            // The first rule for the same function that is not continued by another rule.
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
        let outline = Outline::of(signed.as_ref());
        let parent = above.map(|above| above.parent);
        Ok(Active::new(outline, &self.documents, (terms, ledgers), parent, life))
    }

    /// The agreement that this one is to be a part of, and each rule's parent rule.
    fn above(
        &self,
        directory: &Directory,
        agreement: &Agreement,
    ) -> Result<Option<Above>, AgreementsError> {
        let Some(id) = agreement.clauses().parent else { return Ok(None) };
        let parent = directory.active(&id).ok_or(AgreementsError::NoParent(id))?;
        if !self.auth.are_one(&parent.outline().consumer, agreement.assigner()) {
            return Err(AgreementsError::NoParent(id));
        }
        let rules = parent_rules(agreement.clauses(), parent.document()?.clauses())?;
        Ok(Some(Above { parent: Arc::clone(parent), rules }))
    }
}

/// An agreement with its previous state, if it had fewer signatures.
struct Entry {
    outline: Outline,
    known: Option<Outline>,
    /// When it was first submitted.
    since: Timestamp,
}

impl Entry {
    fn take_room(&self, room: &mut Room) {
        if let Some(known) = &self.known {
            room.leave(known, self.since);
        }
        room.enter(&self.outline, self.since);
    }

    fn give_back(&self, room: &mut Room) {
        room.leave(&self.outline, self.since);
        if let Some(known) = &self.known {
            room.enter(known, self.since);
        }
    }
}

/// An agreement being written, with its room. Unless it arrives, dropping it gives the room back, also when the writer panics.
struct OnItsWay<'a> {
    agreements: &'a Agreements,
    entry: Entry,
    has_arrived: bool,
}

impl<'a> OnItsWay<'a> {
    fn begin(agreements: &'a Agreements, mut room: MutexGuard<'a, Room>, entry: Entry) -> Self {
        entry.take_room(&mut room);
        room.on_its_way.insert(entry.outline.id);
        Self { agreements, entry, has_arrived: false }
    }

    /// It is written, and keeps its room.
    fn arrive(mut self) -> MutexGuard<'a, Room> {
        self.has_arrived = true;
        self.end()
    }

    /// Wakes the waiters.
    fn end(&self) -> MutexGuard<'a, Room> {
        let mut room = self.agreements.room();
        room.on_its_way.remove(&self.entry.outline.id);
        self.agreements.arrived.notify_all();
        room
    }
}

impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        if !self.has_arrived {
            let mut room = self.end();
            self.entry.give_back(&mut room);
        }
    }
}

/// Checks what must be in force: the superseded agreement once both have signed, the parent always.
fn rests_on(proposal: &Proposal) -> impl Iterator<Item = Digest> {
    let clauses = proposal.agreement().clauses();
    let supersedes = clauses.supersedes.filter(|_| proposal.missing().is_empty());
    clauses.parent.into_iter().chain(supersedes)
}

/// The parent agreement, and the parent rule of each rule.
struct Above {
    parent: Arc<Active>,
    rules: Vec<u16>,
}

fn superseded<'a>(
    auth: &Auth,
    directory: &'a Directory,
    agreement: &Agreement,
    id: &Digest,
) -> Result<&'a Arc<Active>, AgreementsError> {
    let earlier = directory.active(id).filter(|earlier| {
        let earlier = earlier.outline();
        auth.are_one(&earlier.publisher, agreement.assigner())
            && auth.are_one(&earlier.consumer, agreement.assignee())
            && earlier.model == *agreement.model()
            && earlier.parent == agreement.clauses().parent
    });
    earlier.ok_or(AgreementsError::NotSuperseding(*id))
}

/// The result of restoring an agreement.
enum Restored {
    Entered(Digest),
    /// It waits for this one.
    RestsOn(Digest),
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::agreement::{Clauses, Offer, Permission, SignedOffer, Target, Versions};
    use crate::clock::Clock;
    use crate::config::Config;
    use crate::key::PartyKey;
    use crate::store::Store;

    /// A proposal of `zoe`, who accepts an offer of another party.
    fn proposal(zoe: &PartyKey) -> Proposal {
        let acme = PartyKey::from_secret(&[1; 32]);
        let versions = Versions::Bundle(Digest::of(b"bundle"));
        let target = Target { model: "acme/iris".parse().expect("a name"), versions };
        let permission = Permission::new("classify".parse().expect("a name"));
        let offer = Offer::new(acme.party(), Clauses::new(target, vec![permission]), Vec::new());
        let offer = SignedOffer::sign(offer.expect("a sound offer"), &acme).expect("signed");
        let accepted = Agreement::accept(&offer, zoe.party(), Timestamp::UNIX_EPOCH);
        Proposal::sign(accepted.expect("two parties"), zoe).expect("signed")
    }

    /// A panic once left the place taken until the host was restarted.
    #[test]
    fn a_write_that_panics_gives_its_room_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("state.redb")).expect("opens");
        let store = Arc::new(store);
        let auth = Arc::new(Auth::open(Arc::clone(&store), Clock::System).expect("opens"));
        let (key, zoe) = (PartyKey::from_secret(&[7; 32]), PartyKey::from_secret(&[2; 32]));
        let agreements = Agreements::open(store, Clock::System, &Config::default(), &key, &auth);
        let agreements = agreements.expect("opens");
        let proposal = proposal(&zoe);
        let begin = || {
            let outline = Outline::of(&proposal);
            let entry = Entry { outline, known: None, since: Timestamp::UNIX_EPOCH };
            OnItsWay::begin(&agreements, agreements.room(), entry)
        };
        let signed = || agreements.room().signed(&[zoe.party()]);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _way = begin();
            assert_eq!(signed(), 1, "it is reserved");
            panic!("as a test wants it")
        }));
        assert!(panicked.is_err());
        assert_eq!(signed(), 0);
        assert!(agreements.room().on_its_way.is_empty(), "nobody waits for it");
        drop(begin().arrive());
        assert_eq!(signed(), 1);
    }
}
