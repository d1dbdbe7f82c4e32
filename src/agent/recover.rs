//! A cluster that lost its majority for good is told who its servers are: by `peers.json`.
//!
//! The file is read at the start (raft-spec R49), in the forms that the reference takes. What the
//! lost servers had acknowledged and this one does not have is gone, and where some of them are
//! still at work, there are two clusters afterwards: nothing but the operator can know.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;

use super::consensus::{Consensus, peer_id};
use crate::os::{clock, fs};
use crate::raft::{MEMBERS_MAX, Member, Members, PeerId};
use crate::stdx::BTreeSet;
use crate::stdx::json::{self, records};
use crate::store::{Store, StoreError};

/// Largest file that is read, in bytes.
const BYTES_MAX: u64 = 64 * 1024;

records! {
/// One server.
#[derive(Clone, Debug, Default, PartialEq)]
struct Peer {
    id: String,
    address: String,
    non_voter: bool,
}
}

/// Carries out what `server/raft/peers.json` below the data directory says, where there is one,
/// and puts the file aside.
///
/// # Errors
/// A sentence: a file that makes no sense is not passed over, the server must not start.
pub(super) fn recover(data_dir: &Path, store: &mut Store, own: PeerId) -> Result<(), String> {
    let path = data_dir.join("server/raft/peers.json");
    let text = match fs::read_at_most(&path, BYTES_MAX) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(at(&path, &e)),
    };
    let snap = store.snap().map_err(|e| at(&path, &e))?;
    let known = Consensus::members(snap.reader())?;
    if known.0.is_empty() {
        return Err(at(
            &path,
            &"this server was never part of a cluster, there is nothing to recover",
        ));
    }
    let members = parse(&text, own, &known).map_err(|e| at(&path, &e))?;
    let (term, _) = snap.reader().hard_state().map_err(|e| at(&path, &e))?;
    drop(snap);
    write(store, term, &members).map_err(|e| at(&path, &e))?;
    let used = path.with_extension(format!("json.used-{}", clock::wall_ns() / 1_000_000_000));
    fs::rename(&path, &used).map_err(|e| at(&path, &e))?;
    log::warn!(
        "the membership was replaced as {} said: {} servers. What others had acknowledged and this \
         one does not have is lost",
        path.display(),
        members.0.len()
    );
    Ok(())
}

fn write(store: &mut Store, term: u64, members: &Members) -> Result<(), StoreError> {
    let mut batch = store.batch()?;
    // Of a term that nobody has voted in.
    batch.hard_state(term + 1, &[])?;
    Consensus::put_members(&mut batch, members)?;
    batch.commit()?;
    Ok(())
}

/// What went wrong with a store, and what its operator can do about it.
pub(super) fn advice(e: &StoreError, data_dir: &Path) -> String {
    let StoreError::Damaged(_) = e else { return e.to_string() };
    format!(
        "{e}. What is in {} cannot be used. Move that directory away and start again: this server \
         will join the others anew and is sent their state (`vardo operator raft remove-peer` then \
         lets its old id go). A server without others begins empty: `vardo operator snapshot \
         restore` brings the last snapshot back",
        data_dir.display()
    )
}

fn at(path: &Path, why: &dyn std::fmt::Display) -> String {
    format!("{}: {why}", path.display())
}

/// The servers that a file names: objects, or only addresses, whose ids are those of `known`.
fn parse(text: &[u8], own: PeerId, known: &Members) -> Result<Members, String> {
    let peers: Vec<Peer> = match json::decode_whole::<Vec<String>>(text) {
        Ok(list) => list.into_iter().map(|address| Peer { address, ..Peer::default() }).collect(),
        Err(_) => json::decode_whole(text).map_err(|e| e.to_string())?,
    };
    let mut members = Members::default();
    let mut addresses = BTreeSet::new();
    for Peer { id, address, non_voter } in peers {
        if address.parse::<SocketAddr>().is_err() {
            return Err(format!("{address:?} is no address with a port"));
        }
        let id = match id.as_str() {
            "" => known.0.iter().find(|(_, m)| m.address == address).map(|(id, _)| *id),
            text => peer_id(text),
        };
        let id = id.ok_or_else(|| format!("the server at {address} has no id that is known"))?;
        if !addresses.insert(address.clone()) {
            return Err(format!("{address} is named twice"));
        }
        if members.0.insert(id, Member { address, voter: !non_voter }).is_some() {
            return Err("a server is named twice".to_owned());
        }
    }
    if members.0.len() > MEMBERS_MAX {
        return Err(format!("more than {MEMBERS_MAX} servers"));
    }
    if !members.0.contains_key(&own) {
        return Err("this server is not among those that are named".to_owned());
    }
    if members.voters().next().is_none() {
        return Err("none of the servers votes".to_owned());
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_that_make_sense_are_taken() {
        let id = |n: u8| crate::stdx::uuid::from_bytes(&[n; 16]);
        let of = |n: u8| peer_id(&id(n)).unwrap();
        let known = Members::lone(of(1), "10.0.0.1:4647".to_owned());
        let (one, two) = (id(1), id(2));
        let read = |text: &str| parse(text.as_bytes(), of(1), &known);
        let both = format!(
            r#"[{{"id":"{one}","address":"10.0.0.1:4647"}},
                {{"id":"{two}","address":"10.0.0.2:4647","non_voter":true}}]"#
        );
        let members = read(&both).unwrap();
        assert_eq!(members.0.len(), 2);
        assert!(members.is_voter(of(1)) && !members.is_voter(of(2)));
        assert_eq!(read(r#"["10.0.0.1:4647"]"#).unwrap(), known);
        for (text, why) in [
            ("", "unexpected end of JSON input (line 1)"),
            ("[]", "this server is not among those that are named"),
            (r#"["10.0.0.9:4647"]"#, "the server at 10.0.0.9:4647 has no id that is known"),
            (r#"["here"]"#, "\"here\" is no address with a port"),
            (r#"["10.0.0.1:4647","10.0.0.1:4647"]"#, "10.0.0.1:4647 is named twice"),
            (&both.replace(&one, &two), "a server is named twice"),
            (&both.replace("4647\"}", "4647\",\"non_voter\":true}"), "none of the servers votes"),
        ] {
            let e = read(text).unwrap_err();
            assert!(e == why || text.is_empty(), "{text}: {e}");
        }
    }
}
