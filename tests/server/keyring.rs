//! Root keys and what they encrypt, locks of variables, through a server that leads.

use vardo::api::{Variable, VariableLock};
use vardo::command::Command;
use vardo::server::keyring::{first_key, is_late, key_in_use, new_key, open, seal};
use vardo::server::rsa::Pair;
use vardo::server::{Config, Server};
use vardo::stdx::json::Bytes;
use vardo::stdx::{BTreeMap, Now};
use vardo::store::{KEYRING, Table, keys};

use super::Counter;
use crate::store::{WALL, World};

const SECOND: u64 = 1_000_000_000;

struct Led {
    w: World,
    server: Server,
    entropy: Counter,
    mono: u64,
}

/// Stands for an RSA key: nothing signs here.
fn half() -> Pair {
    Pair { modulus: vec![1; 256], private: vec![1] }
}

impl Led {
    fn new() -> Self {
        let mut led = Self::early();
        let (id, secret) = led.w.read(|r| {
            let id = r.signing_key().unwrap().expect("a key");
            let row = keys::name(&format!("{KEYRING}{id}"));
            (id, r.secret(Table::Operator, &row).unwrap().expect("a secret").to_owned())
        });
        let modulus = Bytes(half().modulus);
        led.run(&Command::RootKeyRsa { id, modulus, secret: secret + "AQ==" });
        led.server.follow();
        led.w.read(|r| led.server.lead(Now { mono_ns: 0, wall_ns: WALL }, r)).unwrap();
        led
    }

    /// With a first key that has one half.
    fn early() -> Self {
        let mut w = World::new();
        let mut entropy = Counter(0);
        w.run(&Command::Bootstrap { wall_ns: WALL });
        let mut server = Server::new(Config { gc_interval_ns: u64::MAX / 2, ..Config::default() });
        let now = Now { mono_ns: 0, wall_ns: WALL };
        let key = w.read(|r| first_key(r, now, &mut entropy)).unwrap().expect("none yet");
        w.run(&key);
        w.read(|r| server.lead(now, r)).unwrap();
        Self { w, server, entropy, mono: 0 }
    }

    fn now(&self) -> Now {
        Now { mono_ns: self.mono, wall_ns: WALL + i64::try_from(self.mono).unwrap() }
    }

    fn run(&mut self, command: &Command) {
        self.w.run(command);
        let (now, touched, server) = (self.now(), &self.w.touched, &mut self.server);
        self.w.read(|r| server.touched(now, r, touched)).unwrap();
    }

    /// Everything that is due after so many seconds; how many entries that took.
    fn after(&mut self, seconds: u64) -> usize {
        self.mono += seconds * SECOND;
        let mut entries = 0;
        for _ in 0..20_000 {
            let (now, mut out) = (self.now(), Vec::new());
            let (server, entropy) = (&mut self.server, &mut self.entropy);
            server.make_keys(now, entropy);
            self.w.read(|r| server.work(now, r, entropy, &mut out)).unwrap();
            if out.is_empty() && !self.server.has_work() && !self.server.makes_keys() {
                return entries;
            }
            entries += out.len();
            for (command, _) in out {
                self.run(&command);
            }
        }
        panic!("no end");
    }

    fn put(&mut self, path: &str, lock: Option<VariableLock>) {
        let items = BTreeMap::from([("k".to_owned(), format!("s3cret of {path}"))]);
        let mut variable = Variable {
            items: items.into(),
            lock,
            namespace: "default".into(),
            path: path.into(),
            ..Variable::default()
        };
        let entropy = &mut self.entropy;
        self.w.read(|r| seal(r, &mut variable, entropy)).unwrap();
        let variable = Box::new(variable);
        let command = match variable.lock {
            None => Command::VariablePut { variable, check: None, wall_ns: WALL },
            Some(_) => Command::VariableAcquire { variable, wall_ns: WALL },
        };
        let text = serde_json::to_string(&command).unwrap();
        assert!(!text.contains("s3cret"), "the log holds it: {text}");
        self.run(&command);
    }

    fn row(&self, path: &str) -> (Variable, Variable) {
        self.w.read(|r| {
            let row = r.row(Table::Variable, &keys::variable("default", path)).unwrap().unwrap();
            assert!(!String::from_utf8_lossy(row.json).contains("s3cret"));
            (vardo::stdx::json::decode(row.json).unwrap(), open(r, row.json).unwrap())
        })
    }

    fn states(&self) -> Vec<String> {
        let mut keys = self.w.read(|r| r.root_keys()).unwrap();
        keys.sort_by_key(|k| k.meta.create_index);
        keys.into_iter().map(|k| k.meta.state).collect()
    }
}

/// The first key is there at once and can do all but sign for others; that half is made when
/// nobody waits for anything else, or at once where somebody does.
#[test]
fn the_first_key_gets_its_other_half() {
    for pressed in [false, true] {
        let mut l = Led::early();
        l.put("a", None);
        let id = l.w.read(|r| r.signing_key()).unwrap().expect("a key");
        let late = |l: &Led| l.w.read(|r| is_late(r, &id)).unwrap();
        assert!(late(&l) && l.w.read(|r| r.root_keys()).unwrap()[0].modulus.0.is_empty());
        if pressed {
            l.server.press_keys();
        }
        let mut turns = 0;
        while l.after(0) == 0 {
            assert!(!pressed, "it goes on without a pause");
            turns += 1;
            l.mono = l.server.deadline(l.now()).expect("more to do");
            assert!(l.mono >= 2 * SECOND && turns < 20_000, "{turns}");
        }
        assert_eq!((l.mono > 2 * SECOND, turns > 100), (!pressed, !pressed));
        let key = &l.w.read(|r| r.root_keys()).unwrap()[0];
        assert_eq!((key.modulus.0.len(), key.meta.key_id.as_str()), (256, id.as_str()));
        assert!(!late(&l) && key.meta.state == "active");
        // What was encrypted before can be read.
        assert_eq!(l.row("a").1.items["k"], "s3cret of a");
        assert!(!l.server.makes_keys() && l.after(1) == 0);
    }
}

#[test]
fn values_lie_encrypted_and_stay_readable_over_rotations() {
    let mut l = Led::new();
    for n in 0..150 {
        l.put(&format!("v{n}"), None);
    }
    let (first, clear) = l.row("v7");
    assert_eq!(clear.items["k"], "s3cret of v7");
    assert!(l.w.read(|r| key_in_use(r, &first.key_id, WALL)).unwrap());
    let rotate = new_key(WALL, true, 0, false, Some(&half()), &mut l.entropy);
    l.run(&rotate);
    assert_eq!((l.after(1), l.states()), (0, vec!["inactive".to_owned(), "active".to_owned()]));
    l.put("v8", None);
    assert_ne!(l.row("v8").0.key_id, first.key_id);
    let full = new_key(WALL, true, 0, true, Some(&half()), &mut l.entropy);
    l.run(&full);
    assert_eq!(l.states(), ["rekeying", "rekeying", "active"]);
    // 150 variables in steps of 64, and a step for each old key.
    assert_eq!(l.after(1), 5);
    assert_eq!(l.states(), ["inactive", "inactive", "active"]);
    let (after, clear) = l.row("v7");
    assert_ne!(after.key_id, first.key_id);
    assert_eq!(after.modify_index, first.modify_index, "users see no change");
    assert_eq!(clear.items["k"], "s3cret of v7");
    assert!(!l.w.read(|r| key_in_use(r, &first.key_id, WALL)).unwrap());
    // Old keys are collected an hour after the newest one took over.
    l.server.force_gc();
    l.after(1);
    assert_eq!(l.states(), ["active"]);
}

#[test]
fn what_was_written_before_the_first_key_is_encrypted_by_it() {
    let mut w = World::new();
    w.run(&Command::Bootstrap { wall_ns: WALL });
    let mut variable = Variable { path: "early".into(), ..Variable::default() };
    variable.namespace = "default".into();
    variable.items.insert("k".to_owned(), "s3cret".to_owned());
    let mut entropy = Counter(0);
    w.read(|r| seal(r, &mut variable, &mut entropy)).unwrap();
    let variable = Box::new(variable);
    w.run(&Command::VariablePut { variable, check: None, wall_ns: WALL });
    let server = Server::new(Config { gc_interval_ns: u64::MAX / 2, ..Config::default() });
    let mut l = Led { w, server, entropy, mono: 0 };
    l.w.read(|r| l.server.lead(Now { mono_ns: 0, wall_ns: WALL }, r)).unwrap();
    assert_eq!(l.after(1), 0);
    let key = new_key(WALL, false, 0, false, Some(&half()), &mut l.entropy);
    l.run(&key);
    assert_eq!(l.after(1), 1);
    let (row, clear) = l.row("early");
    assert!(!row.key_id.is_empty());
    assert_eq!(clear.items["k"], "s3cret");
    assert_eq!(l.after(1), 0, "once");
}

#[test]
fn a_value_cannot_be_moved_or_changed() {
    let mut l = Led::new();
    l.put("a", None);
    let (row, _) = l.row("a");
    let broken = |v: &Variable| {
        let json = serde_json::to_vec(v).unwrap();
        l.w.read(|r| open(r, &json).is_err())
    };
    assert!(!broken(&row));
    assert!(broken(&Variable { path: "b".into(), ..row.clone() }));
    let mut bent = row.clone();
    bent.data.0[20] ^= 1;
    assert!(broken(&bent));
    bent.data.0.truncate(5);
    assert!(broken(&bent));
    assert!(broken(&Variable { key_id: "gone".into(), ..row }));
}

#[test]
fn a_published_key_takes_over_in_time_and_an_old_one_is_replaced() {
    let mut l = Led::new();
    let at = WALL + 100 * i64::try_from(SECOND).unwrap();
    let key = new_key(WALL, true, at, false, Some(&half()), &mut l.entropy);
    l.run(&key);
    assert_eq!(l.states(), ["active", "prepublished"]);
    assert_eq!(l.server.deadline(l.now()), Some(100 * SECOND));
    assert_eq!((l.after(99), l.after(1)), (0, 1));
    assert_eq!(l.states(), ["inactive", "active"]);
    assert_eq!(l.after(720 * 3600), 1);
    assert_eq!(l.states(), ["inactive", "inactive", "active"]);
}

#[test]
fn a_lock_whose_holder_is_silent_is_released() {
    let mut l = Led::new();
    let lock = VariableLock { ttl: "10s".into(), lock_delay: "5s".into(), id: "me".into() };
    l.put("a", Some(lock));
    let key = keys::variable("default", "a");
    assert_eq!(l.after(9), 0);
    assert!(l.server.renew_lock(&key, "me", l.now()));
    assert_eq!(l.after(9), 0);
    assert_eq!(l.after(2), 0, "the delay");
    assert!(!l.server.renew_lock(&key, "me", l.now()));
    assert_eq!(l.after(5), 1);
    let (row, clear) = l.row("a");
    assert_eq!((row.lock, clear.items["k"].as_str()), (None, "s3cret of a"));
}
