server {
  enabled = true
}
data_dir = "/var/lib/vardo"
bind_addr = "not an address"
