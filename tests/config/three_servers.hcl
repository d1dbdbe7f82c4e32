data_dir = "/var/lib/vardo"
server {
  enabled          = true
  bootstrap_expect = 3
  encrypt          = "MDEyMzQ1Njc4OWFiY2RlZg=="
  server_join {
    retry_join     = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    retry_max      = 5
    retry_interval = "15s"
  }
}
advertise { http = "192.0.2.9" rpc = "192.0.2.9:5000" serf = "192.0.2.9" }
addresses {
  http = "127.0.0.1 192.0.2.9"
}
ports { http = 14646, rpc = 14647, serf = 14648 }
