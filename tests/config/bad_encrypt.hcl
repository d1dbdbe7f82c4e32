server {
  enabled = true
}
data_dir = "/var/lib/vardo"
server { encrypt = "abc" }
