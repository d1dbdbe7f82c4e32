server {
  enabled = true
  client_introduction {
    enforcement = "harsh"
  }
}
data_dir = "/var/lib/vardo"
