//! Names asked of a name server that is played.

use super::*;

struct Chance(u64);

impl Entropy for Chance {
    fn fill(&mut self, bytes: &mut [u8]) {
        for b in bytes {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *b = (self.0 >> 33) as u8;
        }
    }
}

const MS: u64 = SECOND / 1000;

struct World {
    resolver: Resolver,
    chance: Chance,
    ms: u64,
    /// Questions on their way: number of the attempt, server, bytes.
    asked: Vec<(u32, String, Vec<u8>)>,
}

fn files() -> (Vec<u8>, Vec<u8>) {
    let hosts = b"127.0.0.1 localhost\n10.1.1.1\tlisted Listed.lan # mine\n::2 listed\n";
    let resolv = b"# c\nnameserver 10.0.0.1\nnameserver 10.0.0.2\nsearch lan example.com\n";
    (hosts.to_vec(), resolv.to_vec())
}

impl World {
    fn new() -> Self {
        let resolver = Resolver::new(Files(files));
        Self { resolver, chance: Chance(7), ms: 1000, asked: Vec::new() }
    }

    fn now(&self) -> Now {
        Now { mono_ns: self.ms * MS, wall_ns: 0 }
    }

    fn find(&mut self, host: &str) -> Found {
        let found = self.resolver.find(host, self.now(), &mut self.chance);
        self.flush();
        found
    }

    fn flush(&mut self) {
        for effect in self.resolver.take_out() {
            match effect {
                Effect::Send(number, server, questions) => {
                    let server = server.ip().to_string();
                    let asked = questions.into_iter().map(|q| (number, server.clone(), q));
                    self.asked.extend(asked);
                }
                Effect::Close(number) => self.asked.retain(|(n, ..)| *n != number),
            }
        }
    }

    fn pass(&mut self, ms: u64) {
        self.ms += ms;
        self.resolver.tick(self.now(), &mut self.chance);
        self.flush();
    }

    /// Answers all that is asked, by the name that is asked for.
    fn serve(&mut self, mut by: impl FnMut(&str, u8) -> (u8, Vec<Vec<u8>>)) -> Vec<String> {
        let mut names = Vec::new();
        for (number, _, question) in std::mem::take(&mut self.asked) {
            let (name, kind) = read(&question);
            let (code, records) = by(&name, kind);
            names.push(format!("{name} {kind}"));
            let bytes = reply(&question, code, &records);
            self.resolver.received(number, &bytes, self.now(), &mut self.chance);
        }
        self.flush();
        names
    }
}

fn read(question: &[u8]) -> (String, u8) {
    let (mut at, mut labels) = (12, Vec::new());
    while question[at] != 0 {
        let n = usize::from(question[at]);
        labels.push(String::from_utf8(question[at + 1..=at + n].to_vec()).unwrap());
        at += n + 1;
    }
    (labels.join("."), question[at + 2])
}

fn reply(question: &[u8], code: u8, records: &[Vec<u8>]) -> Vec<u8> {
    let mut out = question.to_vec();
    (out[2], out[3], out[7]) = (0x81, 0x80 | code, records.len() as u8);
    out.extend(records.concat());
    out
}

/// A record of the name that was asked for.
fn record(kind: u8, ttl: u32, data: &[u8]) -> Vec<u8> {
    owned(&[0xc0, 12], kind, ttl, data)
}

fn owned(owner: &[u8], kind: u8, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut out = owner.to_vec();
    out.extend([0, kind, 0, 1]);
    out.extend(ttl.to_be_bytes());
    out.extend((data.len() as u16).to_be_bytes());
    out.extend(data);
    out
}

fn ips(texts: &[&str]) -> Found {
    Found::Known(texts.iter().map(|t| t.parse().unwrap()).collect())
}

#[test]
fn what_the_machine_knows_itself_is_not_asked_for() {
    let mut w = World::new();
    assert_eq!(w.find("10.0.0.9"), ips(&["10.0.0.9"]));
    assert_eq!(w.find("[::1]"), ips(&["::1"]));
    assert_eq!(w.find("LocalHost"), ips(&["127.0.0.1", "::1"]));
    assert_eq!(w.find("LISTED"), ips(&["10.1.1.1", "::2"]));
    assert_eq!(w.find("listed.lan."), ips(&["10.1.1.1"]));
    for host in ["", "a..b", "a b", "ä", &"a".repeat(64), &"a.".repeat(130)] {
        assert!(matches!(w.find(host), Found::Failed(_)), "{host}");
    }
    assert!(w.asked.is_empty());
}

#[test]
fn a_name_holds_for_as_long_as_its_answer_says() {
    let mut w = World::new();
    assert_eq!(w.find("a.b"), Found::Pending);
    assert_eq!(w.find("a.b"), Found::Pending);
    assert_eq!(w.asked.len(), 2, "asked once");
    let served = w.serve(|_, kind| match kind {
        1 => (0, vec![record(1, 60, &[10, 0, 0, 7]), record(1, 30, &[10, 0, 0, 8])]),
        _ => (0, vec![]),
    });
    assert_eq!(served, ["a.b 1", "a.b 28"]);
    assert!(w.resolver.has_news());
    assert_eq!(w.find("a.b"), ips(&["10.0.0.7", "10.0.0.8"]));
    w.pass(29_000);
    assert_eq!(w.find("A.B"), ips(&["10.0.0.7", "10.0.0.8"]));
    w.pass(1_000);
    assert_eq!(w.find("a.b"), Found::Pending);
    w.serve(|_, kind| (0, if kind == 1 { vec![record(1, 5, &[10, 0, 0, 9])] } else { vec![] }));
    assert_eq!(w.find("a.b"), ips(&["10.0.0.9"]));
    // No server answers any more: the old address stays in use meanwhile, and after.
    w.pass(5_000);
    assert_eq!(w.find("a.b"), Found::Pending);
    for _ in 0..3 {
        w.pass(1_000);
    }
    assert_eq!(w.find("a.b"), ips(&["10.0.0.9"]));
    for _ in 0..60 {
        w.pass(1_000);
    }
    assert_eq!((w.resolver.deadline(), w.asked.len()), (None, 0), "it has given up");
    assert_eq!(w.find("a.b"), Found::Pending);
    // The word of a server that knows is taken.
    w.serve(|_, _| (3, vec![]));
    w.serve(|_, _| (3, vec![]));
    w.serve(|_, _| (3, vec![]));
    assert_eq!(w.find("a.b"), Found::Failed("lookup a.b: no such host".to_owned()));
}

#[test]
fn other_servers_are_asked_where_one_is_silent_or_knows_nothing() {
    let mut w = World::new();
    assert_eq!(w.find("a.b"), Found::Pending);
    assert!(w.asked.iter().all(|(_, server, _)| server == "10.0.0.1"));
    w.pass(1_000);
    assert!(w.asked.iter().all(|(_, server, _)| server == "10.0.0.2"), "{:?}", w.asked);
    w.serve(|_, _| (2, vec![]));
    assert!(w.asked.iter().all(|(_, server, _)| server == "10.0.0.1"));
    let number = w.asked[0].0;
    w.resolver.failed(number, w.now(), &mut w.chance);
    w.flush();
    w.serve(|_, _| (5, vec![]));
    w.serve(|_, _| (2, vec![]));
    assert_eq!(w.asked.len(), 2, "the last of six");
    w.serve(|_, _| (2, vec![]));
    assert_eq!(w.find("a.b"), Found::Failed("lookup a.b: no name server answered".to_owned()));
    assert!(w.asked.is_empty(), "not again at once");
    w.pass(5_000);
    assert_eq!(w.find("a.b"), Found::Pending);
}

#[test]
fn one_kind_of_address_is_enough() {
    let mut w = World::new();
    assert_eq!(w.find("a.b"), Found::Pending);
    let (number, _, question) = w.asked[1].clone();
    let six = "fd00::1".parse::<Ipv6Addr>().unwrap().octets();
    let bytes = reply(&question, 0, &[record(28, 60, &six)]);
    w.resolver.received(number, &bytes, w.now(), &mut w.chance);
    assert_eq!(w.find("a.b"), Found::Pending);
    w.pass(250);
    assert_eq!(w.find("a.b"), ips(&["fd00::1"]));
}

#[test]
fn short_names_are_completed() {
    let mut w = World::new();
    assert_eq!(w.find("db"), Found::Pending);
    assert_eq!(w.serve(|_, _| (3, vec![])), ["db.lan 1", "db.lan 28"]);
    let found = |_: &str, kind| match kind {
        1 => (0, vec![record(1, 60, &[10, 0, 0, 7])]),
        _ => (0, vec![]),
    };
    assert_eq!(w.serve(found), ["db.example.com 1", "db.example.com 28"]);
    assert_eq!(w.find("db"), ips(&["10.0.0.7"]));
    assert_eq!(w.find("db."), Found::Pending);
    assert_eq!(w.serve(|_, _| (3, vec![])), ["db 1", "db 28"]);
    assert!(matches!(w.find("db."), Found::Failed(_)));
}

#[test]
fn aliases_are_followed() {
    let name = Name::new("a.b").unwrap();
    let question = query(9, &name, Kind::V4);
    // `a.b` is `c.a.b`, which has the address; a stranger's address is not taken.
    let alias = record(5, 10, &[1, b'C', 0xc0, 12]);
    let there = owned(&[1, b'c', 1, b'A', 1, b'b', 0], 1, 20, &[1, 2, 3, 4]);
    let stranger = owned(&[1, b'x', 0], 1, 5, &[6, 6, 6, 6]);
    let bytes = reply(&question, 0, &[there, stranger, alias]);
    let ip: IpAddr = "1.2.3.4".parse().unwrap();
    assert_eq!(answer(&bytes, 9, &name, Kind::V4), Some(Said::Addresses(vec![ip], 10)));
    // An alias of itself.
    let bytes = reply(&question, 0, &[record(5, 10, &[0xc0, 12])]);
    assert_eq!(answer(&bytes, 9, &name, Kind::V4), Some(Said::Nothing));
}

#[test]
fn answers_of_others_and_nonsense_are_nothing() {
    let name = Name::new("a.b").unwrap();
    let question = query(9, &name, Kind::V4);
    let good = reply(&question, 0, &[record(1, 60, &[1, 2, 3, 4])]);
    assert!(matches!(answer(&good, 9, &name, Kind::V4), Some(Said::Addresses(..))));
    assert_eq!(answer(&good, 8, &name, Kind::V4), None, "another id");
    assert_eq!(answer(&good, 9, &name, Kind::V6), None, "another kind");
    assert_eq!(answer(&good, 9, &Name::new("a.c").unwrap(), Kind::V4), None, "another name");
    assert_eq!(answer(&question, 9, &name, Kind::V4), None, "the question itself");
    for cut in 0..good.len() {
        let said = answer(&good[..cut], 9, &name, Kind::V4);
        assert!(matches!(said, None | Some(Said::Failed)), "{cut}: {said:?}");
    }
    // A pointer to itself, and two that point at each other.
    for data in [&[0xc0, 33][..], &[0xc0, 35, 0xc0, 33]] {
        let circle = reply(&question, 0, &[record(5, 1, data)]);
        assert_eq!(answer(&circle, 9, &name, Kind::V4), Some(Said::Failed));
    }
    // What did not fit is marked, and what is there is taken.
    let mut cut = reply(&question, 0, &[record(1, 60, &[1, 2, 3, 4]), vec![0xc0, 12, 0]]);
    assert_eq!(answer(&cut, 9, &name, Kind::V4), Some(Said::Failed));
    cut[2] |= 2;
    assert!(matches!(answer(&cut, 9, &name, Kind::V4), Some(Said::Addresses(..))));
}

#[test]
fn settings_are_read_like_the_systems() {
    let read = settings(
        b"nameserver 1.1.1.1\nnameserver x\nnameserver ::1\nnameserver 2.2.2.2\n\
          nameserver 3.3.3.3\ndomain a\nsearch b c\noptions rotate ndots:3 x\n;z\n\xff\n",
    );
    let servers: Vec<_> = read.servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["1.1.1.1:53", "[::1]:53", "2.2.2.2:53"]);
    assert_eq!((read.endings, read.dots), (vec!["b".to_owned(), "c".to_owned()], 3));
    assert_eq!(settings(b"").servers, ["127.0.0.1:53".parse().unwrap()]);
}

#[test]
fn names_are_forgotten_where_there_are_too_many() {
    let mut w = World::new();
    for n in 0..DNS_NAMES_MAX + 10 {
        w.find(&format!("n{n}."));
        w.serve(|_, _| (3, vec![]));
        w.ms += 1;
    }
    assert_eq!(w.resolver.names.len(), DNS_NAMES_MAX);
    for n in 0..DNS_WORK_MAX + 10 {
        w.find(&format!("m{n}."));
    }
    assert_eq!(w.asked.len(), 2 * DNS_WORK_MAX, "the rest waits");
}
