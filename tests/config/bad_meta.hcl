server {
  enabled = true
}
data_dir = "/var/lib/vardo"
client {
  enabled = true
  meta { "a..b" = "c" }
}
