server {
  enabled        = true
  num_schedulers = 5000
}
data_dir = "/var/lib/vardo"
