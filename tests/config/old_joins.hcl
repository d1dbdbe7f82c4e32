server {
  enabled = true
}
data_dir = "/var/lib/vardo"
server {
  start_join = ["a", "b"]
  retry_join = ["c"]
  retry_max  = "3"
}
