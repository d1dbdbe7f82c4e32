server {
  enabled            = true
  enabled_schedulers = ["batch", "web"]
}
data_dir = "/var/lib/vardo"
