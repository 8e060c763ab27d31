//! Tests of what a publisher is made to sign, against a host that lies.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

use super::super::home::SavedAccount;
use super::super::*;
use hospes_agreement::{
    Agreement, Clauses, Offer, Permission, Proposal, SignedOffer, Target, Versions,
};
use hospes_core::id::Digest;
use hospes_core::key::PartyKey;

/// A host that answers each of these paths with these bytes, and keeps what is posted to it.
struct FakeHost {
    url: HostUrl,
    posted: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl FakeHost {
    fn serving(routes: Vec<(String, Vec<u8>)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let posted = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&posted);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a client");
                let (head, body) = request(&mut stream);
                if head.starts_with("POST") {
                    kept.lock().expect("not poisoned").push(body);
                }
                let path = head.split(' ').nth(1).expect("a path");
                let found = routes.iter().find(|(route, _)| route == path);
                let (status, answer) =
                    found.map_or((404, &b"{}"[..]), |(_, answer)| (200, answer.as_slice()));
                let length = answer.len();
                let head = format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
                );
                stream.write_all(head.as_bytes()).expect("written");
                stream.write_all(answer).expect("written");
            }
        });
        Self { url: url.parse().expect("an address"), posted }
    }
}

fn request(stream: &mut std::net::TcpStream) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |text| text.parse().expect("a number"));
            if bytes.len() >= end + 4 + length {
                return (String::from_utf8_lossy(&bytes[..end]).into(), bytes[end + 4..].into());
            }
        }
        let count = stream.read(&mut part).expect("a request");
        assert_ne!(count, 0, "the client hung up");
        bytes.extend_from_slice(&part[..count]);
    }
}

struct Setting {
    _directory: tempfile::TempDir,
    home: Home,
    offer: SignedOffer,
    proposal: Proposal,
    publisher: PartyKey,
}

/// A publisher with an account, its offer of three calls, and a consumer's signature under it.
fn setting() -> Setting {
    let directory = tempfile::tempdir().expect("a directory");
    let home = Home::new(directory.path().into());
    let name: AccountName = "acme".parse().expect("a name");
    let publisher = home.new_key(&name).expect("a key");
    let (key, party, api_key) = (name.clone(), publisher.party(), "hsp_x".to_owned());
    home.keep_account(&SavedAccount { name, key, party, former: Vec::new(), api_key })
        .expect("kept");
    let offer = offer(&publisher, 3);
    let consumer = PartyKey::generate().expect("a key");
    let agreement = Agreement::accept(&offer, consumer.party(), Clock::System.now());
    let proposal = Proposal::sign(agreement.expect("accepted"), &consumer).expect("signed");
    Setting { _directory: directory, home, offer, proposal, publisher }
}

fn offer(key: &PartyKey, calls: u64) -> SignedOffer {
    let function = "infer".parse().expect("a name");
    let permission =
        Permission::new(function).limited(&format!("count lteq {calls} call"), Clock::System.now());
    let model = "acme/iris".parse().expect("a name");
    let target = Target { model, versions: Versions::Bundle(Digest::of(b"bundle")) };
    let clauses = Clauses::new(target, vec![permission.expect("a clause")]);
    let offer = Offer::new(key.party(), clauses, Vec::new());
    SignedOffer::sign(offer.expect("an offer"), key).expect("signed")
}

fn sign(home: &Home, host: &FakeHost, id: &Digest) -> Result<Answer, Failure> {
    let line = format!("hospes-cli agreement sign {id} --yes");
    let cli = Cli::try_parse_from(line.split(' ')).expect("a command");
    let context = Context {
        screen: Screen::new(true),
        clock: Clock::System,
        home: home.clone(),
        identity: None,
        host: host.url.clone(),
    };
    cli.command.run(&context, Cli::command)
}

#[test]
fn a_publisher_countersigns_what_it_offered() {
    let Setting { home, offer, proposal, publisher, .. } = &setting();
    let answer = format!(r#"{{"id":"{}","state":"active","missing":[]}}"#, proposal.id());
    let host = FakeHost::serving(vec![
        (format!("/api/agreements/{}", proposal.id()), proposal.to_bytes()),
        (format!("/api/offers/{}", offer.id()), offer.to_bytes()),
        ("/api/agreements".into(), answer.into()),
    ]);
    sign(home, &host, proposal.id()).expect("signed");
    let posted = host.posted.lock().expect("not poisoned").pop().expect("posted");
    let posted = Proposal::parse(&posted).expect("a proposal");
    assert_eq!(posted.id(), proposal.id());
    assert!(posted.missing().is_empty(), "both have signed");
    assert_eq!(*posted.agreement().assigner(), publisher.party());
}

#[test]
fn a_host_cannot_put_other_terms_before_the_publisher() {
    let Setting { home, offer: offered, proposal, publisher, .. } = &setting();
    let other = offer(publisher, 1_000_000);
    let host = FakeHost::serving(vec![
        (format!("/api/agreements/{}", proposal.id()), proposal.to_bytes()),
        (format!("/api/offers/{}", offered.id()), other.to_bytes()),
    ]);
    let refused = sign(home, &host, proposal.id()).expect_err("another offer");
    assert!(refused.to_string().contains("instead of"), "{refused}");
    let id = Digest::of(b"another agreement");
    let host = FakeHost::serving(vec![(format!("/api/agreements/{id}"), proposal.to_bytes())]);
    let refused = sign(home, &host, &id).expect_err("another agreement");
    assert!(refused.to_string().contains("instead of"), "{refused}");
    assert!(host.posted.lock().expect("not poisoned").is_empty(), "nothing was signed");
}

#[test]
fn nobody_signs_for_others_or_twice() {
    let setting = setting();
    let Setting { home, offer, proposal, publisher, .. } = &setting;
    let stranger = tempfile::tempdir().expect("a directory");
    let strange_home = Home::new(stranger.path().into());
    let name: AccountName = "mallory".parse().expect("a name");
    let party = strange_home.new_key(&name).expect("a key").party();
    let account = SavedAccount {
        name: name.clone(),
        key: name,
        party,
        former: Vec::new(),
        api_key: "hsp_y".into(),
    };
    strange_home.keep_account(&account).expect("kept");
    let route = format!("/api/agreements/{}", proposal.id());
    let host = FakeHost::serving(vec![(route.clone(), proposal.to_bytes())]);
    let refused = sign(&strange_home, &host, proposal.id()).expect_err("a stranger");
    assert!(refused.to_string().contains("neither"), "{refused}");
    let mut signed = Proposal::parse(&proposal.to_bytes()).expect("a proposal");
    signed.add_signature(publisher).expect("signed");
    let host = FakeHost::serving(vec![
        (route, signed.to_bytes()),
        (format!("/api/offers/{}", offer.id()), offer.to_bytes()),
    ]);
    let refused = sign(home, &host, signed.id()).expect_err("signed already");
    assert!(refused.to_string().contains("already"), "{refused}");
}
