# One server.
server {
  enabled = true
}
data_dir = "/var/lib/vardo"
