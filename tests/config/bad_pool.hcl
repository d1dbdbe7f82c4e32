server {
  enabled = true
}
data_dir = "/var/lib/vardo"
client {
  enabled = true
  node_pool = "all"
}
