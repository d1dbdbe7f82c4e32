data_dir = "/d"
server { enabled = true }

log_file             = "/var/log/vardo/agent.log"
log_rotate_bytes     = 1048576
log_rotate_duration  = "12h"
log_rotate_max_files = 4
log_json             = true
