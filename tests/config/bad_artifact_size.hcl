data_dir = "/d"
client {
  enabled = true
  artifact {
    http_read_timeout = "5m"
    http_max_size     = "lots"
  }
}
