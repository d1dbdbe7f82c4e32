//! Two ends of a link, with their bytes in hand.

use vardo::limits::{LINK_CREDIT_BYTES, LINK_GREETING_BYTES_MAX};
use vardo::link::{Event, Hello, Link, Secret};

fn hello(n: u8) -> Hello {
    Hello {
        server: [n; 16],
        boot: [n; 16],
        challenge: [n; 32],
        region: "global".into(),
        name: format!("s{n}"),
        rpc: format!("10.0.0.{n}:4647"),
        expect: 3,
        ..Hello::default()
    }
}

fn secret(text: &str) -> Option<Secret> {
    (!text.is_empty()).then(|| Secret::new(text.as_bytes()))
}

fn pair(secrets: (&str, &str)) -> (Link, Link) {
    (Link::new(&hello(1), secret(secrets.0), true), Link::new(&hello(2), secret(secrets.1), false))
}

/// Everything that waits goes over, in pieces of `size`; what the receiver makes of it.
fn carry(from: &mut Link, to: &mut Link, size: usize) -> Result<Vec<Event>, String> {
    let mut bytes = Vec::new();
    from.fill(&mut bytes, usize::MAX);
    feed(to, &bytes, size)
}

fn feed(to: &mut Link, bytes: &[u8], size: usize) -> Result<Vec<Event>, String> {
    let mut events = Vec::new();
    for piece in bytes.chunks(size.max(1)) {
        to.feed(piece);
        while let Some(event) = to.poll().map_err(|e| e.to_string())? {
            events.push(event);
        }
    }
    Ok(events)
}

/// Both ends greet each other.
fn up(a: &mut Link, b: &mut Link, size: usize) -> Result<(), String> {
    for _ in 0..3 {
        carry(a, b, size)?;
        carry(b, a, size)?;
    }
    Ok(())
}

fn joined(text: &str) -> (Link, Link) {
    let (mut a, mut b) = pair((text, text));
    up(&mut a, &mut b, usize::MAX).expect("a greeting");
    assert!(a.is_up() && b.is_up());
    (a, b)
}

#[test]
fn greetings_complete_however_the_bytes_are_cut() {
    for text in ["", "a shared secret"] {
        for size in [1, 2, 7, 64, 100_000] {
            let (mut a, mut b) = pair((text, text));
            let mut seen = Vec::new();
            for _ in 0..3 {
                seen.extend(carry(&mut a, &mut b, size).expect("a greeting"));
                carry(&mut b, &mut a, size).expect("a greeting");
            }
            let Some(Event::Up(told)) = seen.first() else { panic!("{seen:?}") };
            assert_eq!((told.name.as_str(), told.expect), ("s1", 3));
            a.raft(b"vote".to_vec());
            a.note(b"hi".to_vec());
            let stream = a.open(b"http".to_vec()).expect("a stream");
            assert_eq!(a.send(stream, b"GET"), 3);
            a.end(stream);
            let events = carry(&mut a, &mut b, size).expect("frames");
            let expected = [
                Event::Raft(b"vote".to_vec()),
                Event::Note(b"hi".to_vec()),
                Event::Opened(stream, b"http".to_vec()),
                Event::Data(stream, b"GET".to_vec()),
                Event::End(stream),
            ];
            assert_eq!(events, expected, "in pieces of {size}");
        }
    }
}

#[test]
fn strangers_learn_nothing_and_leave_nothing() {
    let mut greeting = Vec::new();
    Link::new(&hello(1), None, true).fill(&mut greeting, usize::MAX);
    // The lowest version stands behind the head of the frame, the name and two lengths.
    let mut later = greeting.clone();
    let at = 9 + 4 + 10 + 4;
    assert_eq!(later[at], 1);
    later[at] = 9;
    let mut absurd = vec![0xff; 4];
    absurd.extend_from_slice(&[1, 0, 0, 0, 0]);
    let mut long = u32::try_from(LINK_GREETING_BYTES_MAX + 1).unwrap().to_le_bytes().to_vec();
    long.extend_from_slice(&[1, 0, 0, 0, 0]);
    for (bytes, why) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "no greeting"),
        (absurd, "frame of absurd length"),
        (long, "frame of absurd length"),
        (later, "unknown version"),
        (vec![1, 0, 0, 0, 3, 0, 0, 0, 0, 0], "no greeting"),
        ([&[3, 0, 0, 0, 1, 0, 0, 0, 0][..], b"abc"].concat(), "not a link"),
    ] {
        let (_, mut b) = pair(("", ""));
        assert_eq!(feed(&mut b, &bytes, usize::MAX), Err(why.to_owned()), "{bytes:?}");
        assert!(!b.is_up());
    }
    // Its own greeting, sent back.
    let (mut a, _) = pair(("", ""));
    assert_eq!(feed(&mut a, &greeting, usize::MAX), Err("talks to itself".to_owned()));
}

#[test]
fn secrets_must_be_the_same_and_proofs_cannot_be_sent_back() {
    for (secrets, why) in [
        (("one", "two"), "another secret"),
        (("one", ""), "one side has no secret"),
        (("", "two"), "one side has no secret"),
    ] {
        let (mut a, mut b) = pair(secrets);
        assert_eq!(up(&mut a, &mut b, usize::MAX), Err(why.to_owned()), "{secrets:?}");
        assert!(!a.is_up() && !b.is_up());
    }
    // One who does not know the secret answers with what he is sent.
    let (mut a, _) = pair(("one", "one"));
    let mut bytes = Vec::new();
    let mut mirror = Link::new(&hello(3), secret("one"), false);
    mirror.fill(&mut bytes, usize::MAX);
    feed(&mut a, &bytes, usize::MAX).expect("a greeting");
    let mut own = Vec::new();
    a.fill(&mut own, usize::MAX);
    let proof = &own[own.len() - 41..];
    assert_eq!(feed(&mut a, proof, usize::MAX), Err("another secret".to_owned()));
}

#[test]
fn sealed_frames_cannot_be_changed_repeated_or_left_out() {
    let frames = |a: &mut Link| {
        let mut one = Vec::new();
        a.note(b"first".to_vec());
        a.fill(&mut one, usize::MAX);
        let mut two = Vec::new();
        a.note(b"second".to_vec());
        a.fill(&mut two, usize::MAX);
        (one, two)
    };
    let (mut a, _) = joined("k");
    let len = frames(&mut a).0.len();
    for at in 0..len {
        let (mut a, mut b) = joined("k");
        let (mut one, _) = frames(&mut a);
        one[at] ^= 1;
        // A longer frame is still waited for; anything else ends the link.
        assert!(feed(&mut b, &one, usize::MAX).map_or(true, |e| e.is_empty()), "byte {at}");
    }
    let (mut a, mut b) = joined("k");
    let (one, two) = frames(&mut a);
    assert!(feed(&mut b, &two, usize::MAX).is_err(), "one was left out");
    let (mut a, mut b) = joined("k");
    let (again, _) = frames(&mut a);
    assert_eq!(feed(&mut b, &again, 3).expect("the first").len(), 1);
    assert!(feed(&mut b, &again, 3).is_err(), "one came twice");
    assert_ne!(one, two);
}

#[test]
fn consensus_overtakes_notes_and_notes_overtake_data() {
    let (mut a, mut b) = joined("");
    let stream = a.open(b"x".to_vec()).expect("a stream");
    carry(&mut a, &mut b, usize::MAX).expect("frames");
    a.send(stream, &[7; 100_000]);
    a.note(b"note".to_vec());
    a.raft(b"raft".to_vec());
    let events = carry(&mut a, &mut b, usize::MAX).expect("frames");
    assert_eq!(events[0], Event::Raft(b"raft".to_vec()));
    assert_eq!(events[1], Event::Note(b"note".to_vec()));
    let data = events[2..].iter().map(|e| match e {
        Event::Data(id, bytes) if *id == stream => bytes.len(),
        other => panic!("{other:?}"),
    });
    assert_eq!(data.sum::<usize>(), 100_000);
    // Between two pieces of data there is room for the next heartbeat.
    a.send(stream, &[7; 100_000]);
    let mut first = Vec::new();
    a.fill(&mut first, 1);
    a.raft(b"beat".to_vec());
    feed(&mut b, &first, usize::MAX).expect("a piece");
    let events = carry(&mut a, &mut b, usize::MAX).expect("frames");
    assert_eq!(events[0], Event::Raft(b"beat".to_vec()));
}

#[test]
fn nobody_sends_more_than_he_is_allowed() {
    let (mut a, mut b) = joined("");
    let stream = a.open(b"x".to_vec()).expect("a stream");
    let much = vec![1; 3 * LINK_CREDIT_BYTES];
    assert_eq!(a.send(stream, &much), LINK_CREDIT_BYTES);
    assert_eq!(a.send(stream, &much), 0);
    carry(&mut a, &mut b, usize::MAX).expect("as much as is allowed");
    b.grant(stream, 1000);
    let events = carry(&mut b, &mut a, usize::MAX).expect("credit");
    assert_eq!(events, [Event::Writable(stream)]);
    assert_eq!(a.send(stream, &much), 1000);
    carry(&mut a, &mut b, usize::MAX).expect("as much as is allowed");
    // A peer that does not keep to it.
    let mut greedy = Vec::new();
    greedy.extend_from_slice(&[1, 0, 0, 0, 6]);
    greedy.extend_from_slice(&stream.to_le_bytes());
    greedy.push(0);
    assert_eq!(feed(&mut b, &greedy, 1), Err("data beyond the credit".to_owned()));
}

#[test]
fn streams_end_on_both_sides_or_at_once() {
    let (mut a, mut b) = joined("");
    let stream = a.open(b"x".to_vec()).expect("a stream");
    carry(&mut a, &mut b, usize::MAX).expect("frames");
    b.send(stream, b"answer");
    b.end(stream);
    assert_eq!(b.send(stream, b"more"), 0);
    let events = carry(&mut b, &mut a, usize::MAX).expect("frames");
    assert_eq!(events, [Event::Data(stream, b"answer".to_vec()), Event::End(stream)]);
    a.end(stream);
    assert_eq!(carry(&mut a, &mut b, usize::MAX), Ok(vec![Event::End(stream)]));
    // Late frames of a stream that is gone mean nothing.
    a.grant(stream, 10);
    assert_eq!(carry(&mut a, &mut b, usize::MAX), Ok(vec![]));
    let other = b.open(b"y".to_vec()).expect("a stream");
    assert_ne!(other, stream);
    carry(&mut b, &mut a, usize::MAX).expect("frames");
    a.send(other, &[0; 50_000]);
    a.reset(other);
    assert_eq!(carry(&mut a, &mut b, usize::MAX), Ok(vec![Event::Reset(other)]));
}

/// Any bytes at all: an error or nothing, never more.
#[test]
fn noise_is_survived() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut byte = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()[3]
    };
    for round in 0..2000 {
        let (mut a, mut b) = joined("");
        let mut bytes = Vec::new();
        a.raft(vec![1; 40]);
        let stream = a.open(b"x".to_vec()).expect("a stream");
        a.send(stream, &[3; 100]);
        a.end(stream);
        a.fill(&mut bytes, usize::MAX);
        for _ in 0..=round % 5 {
            let at = usize::from(byte()) * 7 % bytes.len();
            bytes[at] = byte();
        }
        drop(feed(&mut b, &bytes, 11));
    }
}
