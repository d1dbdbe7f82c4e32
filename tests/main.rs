mod jobspec;
