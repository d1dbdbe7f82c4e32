data_dir = "/d"
region   = "west"

server {
  enabled = true
}

region_addresses {
  west = "https://west.example.com:4646"
}
