server {
  enabled = true
}
data_dir = "/var/lib/vardo"
consul { address = "127.0.0.1:8500" }
vault { enabled = false }
audit { enabled = false }
reporting { license { enabled = false } }
ui { enabled = true }
autopilot { cleanup_dead_servers = false }
