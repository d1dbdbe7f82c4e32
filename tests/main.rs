mod http;
mod jobspec;
