server {
  enabled = true
}
data_dir = "/var/lib/vardo"
log_level = "loud"
