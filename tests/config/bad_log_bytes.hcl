data_dir = "/d"
server { enabled = true }

log_file         = "/var/log/vardo/agent.log"
log_rotate_bytes = -1
