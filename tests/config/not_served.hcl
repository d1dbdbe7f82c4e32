enable_syslog = true
server {
  enabled = true
}
data_dir = "/var/lib/vardo"
