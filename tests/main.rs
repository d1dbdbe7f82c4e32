mod http;
mod jobspec;
mod proc;
