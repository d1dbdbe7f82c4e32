server {
  enabled = true
}
data_dir = "/var/lib/vardo"
client {
  enabled = true
  reserved {
    cpus = 4
  }
}
