//! The objects of the API: names and shapes as on the wire, no behaviour beyond accessors.
//!
//! Fields stand in the order of their JSON names, byte by byte, so that the printed form is
//! canonical: the bytes that are stored are the bytes that a GET returns. A nil list or map prints
//! `null` (`List`, `Map`), zero times print `null` (`Time`). All durations are nanoseconds.

mod acl;
mod alloc;
mod deployment;
mod error;
mod eval;
mod identity;
mod job;
mod namespace;
mod node;
mod node_parts;
mod operator;
mod reply;
mod resources;
mod service;
pub mod status;
mod stub;
mod task;
mod variable;
mod volume;

pub use acl::*;
pub use alloc::*;
pub use deployment::*;
pub use error::*;
pub use eval::*;
pub use identity::*;
pub use job::*;
pub use namespace::*;
pub use node::*;
pub use node_parts::*;
pub use operator::*;
pub use reply::*;
pub use resources::*;
pub use service::*;
pub use stub::*;
pub use task::*;
pub use variable::*;
pub use volume::*;

use std::rc::Rc;

use crate::stdx::BTreeMap;
use crate::stdx::json::{Any, Bytes, List, Map, Numbers, Span, Time, is_zero, records};
