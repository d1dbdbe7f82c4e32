data_dir = "/d"

server {
  enabled = true
}

region_addresses {
  west = "west.example.com:4646"
}
