server {
  enabled = true
}
data_dir = "/var/lib/vardo"
client {
  enabled = true
  min_dynamic_port = 900
  max_dynamic_port = 800
}
