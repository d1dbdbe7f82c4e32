mod http;
mod jobspec;
mod proc;
mod raft;
mod routes;
